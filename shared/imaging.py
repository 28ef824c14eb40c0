"""From the bytes of a file to the pixels that a network sees; the trainer and the worker both call `prepare`."""

import re
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import Unfinished, Unreadable, Unsuitable

FORMATS = ("JPEG", "PNG", "TIFF")
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
SMALLEST_SIDE = 64
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # of TIFF
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, a warning: `_check` applies ours before anything is decoded


class Preprocessing(BaseModel):
    """How pixels are treated; part of every model version's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=16, le=2048)
    height: int = Field(ge=16, le=2048)
    channels: Literal[1, 3] = 1
    contrast: Literal["none", "equalize"] = "none"


@dataclass(frozen=True)
class Limits:
    """What a file may cost before anything is decoded."""

    pixels: int = 100_000_000
    bytes: int = 200_000_000


def prepare(data: bytes, preprocessing: Preprocessing, limits: Limits) -> NDArray[np.uint8]:
    """Decode one image for a network.

    Returns an array of shape (height, width, channels), dtype uint8, values 0 to 255, black being 0.
    Raises Unreadable for a file that can never be screened, Unfinished for one that ends too early.
    """
    return arrange(decode(data, (preprocessing.width, preprocessing.height), limits), preprocessing)


def arrange(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The pixels of a decoded 8-bit grey image, as `prepare` returns them."""
    image = image.resize((preprocessing.width, preprocessing.height), Image.Resampling.BILINEAR)
    if preprocessing.contrast == "equalize":
        image = ImageOps.equalize(image)
    pixels = np.asarray(image)[:, :, np.newaxis]
    return pixels if preprocessing.channels == 1 else np.repeat(pixels, preprocessing.channels, axis=2)


def decode(data: bytes, at_least: tuple[int, int], limits: Limits) -> Image.Image:
    """Decode to 8-bit grey, a JPEG at the smallest scale that still covers `at_least` (width, height)."""
    if not data:
        raise Unfinished("the file is empty")
    if len(data) > limits.bytes:
        raise Unsuitable(f"the file has {len(data):,} bytes, more than the limit of {limits.bytes:,} (max_bytes)")
    if is_dicom(data):
        from shared import dicom  # only those who decode it need pydicom

        grey = dicom.decode(data, limits)
    else:
        grey = _decode_picture(data, at_least, limits)
    darkest, brightest = grey.getextrema()
    if darkest == brightest:
        raise Unreadable("the image is blank: every pixel has the same value")
    return grey


def is_dicom(data: bytes) -> bool:
    return data[128:132] == b"DICM"


def check_size(width: int, height: int, limits: Limits) -> None:
    """Before anything is decoded; raises Unreadable."""
    if width * height > limits.pixels:
        raise Unsuitable(
            f"the image has {width} x {height} pixels, more than the limit of {limits.pixels:,} (max_pixels)"
        )
    if min(width, height) < SMALLEST_SIDE:
        raise Unsuitable(f"the image has {width} x {height} pixels: too small for a radiograph")


def _decode_picture(data: bytes, at_least: tuple[int, int], limits: Limits) -> Image.Image:
    try:
        image: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        if data.startswith(BEGINNINGS):
            raise Unfinished("the image's header is damaged, or the file was cut off within it") from error
        formats = ", ".join((*FORMATS, "DICOM"))
        raise Unreadable(f"the content is not an image in a format that is read ({formats})") from error
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
        raise Unsuitable("the file is animated or has several pages: a radiograph is a single picture")


def _damaged(error: Exception) -> Unfinished | Unreadable:
    """Pillow raises whatever the damage leads it to."""
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return Unfinished("the image ends too early: the file was cut off")
    said = re.sub("[^ -~]", "?", str(error))[:200]
    return Unreadable(f"the image is damaged: {said or type(error).__name__}")


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data say; data that cannot be read do not cost the image."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - Pillow raises whatever the damaged data lead to
        return image


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel: stretch what is used of them over 8
        values = np.array(image, dtype=np.float32)  # changed in place: the largest images need half the memory
        lowest, highest = float(values.min()), float(values.max())
        values -= lowest
        values *= 255.0 / (highest - lowest) if highest > lowest else 0.0
        return Image.fromarray(np.rint(values, out=values).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to grey, Pillow would warn
    return image if image.mode == "L" else image.convert("L")
