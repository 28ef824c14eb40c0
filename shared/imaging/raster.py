"""JPEG, PNG and TIFF files as 8-bit grey pictures, decoded by Pillow."""

import re
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from shared.base.errors import Unfinished, Unreadable, Unsuitable
from shared.imaging.limits import Limits, check_size

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # of TIFF
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is only a warning: `check_size` applies ours before decoding


def decode(data: bytes, at_least: tuple[int, int], limits: Limits, pillow_format: str) -> Image.Image:
    """Decode one file of the named Pillow format to 8-bit grey; a JPEG at the smallest scale that covers `at_least`.

    Raises Unreadable for a file that can never be decoded, Unfinished for one that ends too early.
    """
    try:
        image: Image.Image = Image.open(BytesIO(data), formats=(pillow_format,))
    except UnidentifiedImageError as error:
        raise Unfinished("the image's header is damaged, or the file was cut off within it") from error
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged(error) from error
    check_size(*image.size, limits)
    try:
        _check_single(image)
        image.draft("L", at_least)
        image.load()
        grey = _grey(_upright(image))
        # Of TIFFs that store white as 0, Pillow inverts those of 8 bits alone.
        is_inverted = isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
        return ImageOps.invert(grey) if is_inverted and image.mode.startswith("I") else grey
    except (MemoryError, Unreadable):
        raise
    except Exception as error:
        raise _damaged(error) from error


def _check_single(image: Image.Image) -> None:
    if getattr(image, "is_animated", False):
        raise Unsuitable("the file is animated or has several pages: a radiograph is a single image")


def _damaged(error: Exception) -> Unfinished | Unreadable:
    """Classify a decoding error: Pillow raises many kinds on damaged files."""
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return Unfinished("the image ends too early: the file was cut off")
    text = re.sub("[^ -~]", "?", str(error))[:200]
    return Unreadable(f"the image is damaged: {text or type(error).__name__}")


def _upright(image: Image.Image) -> Image.Image:
    """Rotate as the EXIF data say; unreadable EXIF data are ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - Pillow raises many kinds on damaged data
        return image


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel: stretch the range in use to 8 bits
        values = np.array(image, dtype=np.float32)  # changed in place: the largest images need half the memory
        lowest, highest = float(values.min()), float(values.max())
        values -= lowest
        values *= 255.0 / (highest - lowest) if highest > lowest else 0.0
        return Image.fromarray(np.rint(values, out=values).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to grey, Pillow would warn
    return image if image.mode == "L" else image.convert("L")
