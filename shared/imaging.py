"""From the bytes of a file to the pixels that a network sees; the trainer and the worker both call `prepare`."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import Unfinished, Unreadable

FORMATS = ("JPEG", "PNG")
SMALLEST_SIDE = 64


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
    image = decode(data, (preprocessing.width, preprocessing.height), limits)
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
        raise Unreadable(f"the file has {len(data):,} bytes, more than the limit of {limits.bytes:,} (max_bytes)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_check` applies our own limit
        try:
            image: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError as error:
            raise Unreadable(f"the content is not an image in a format that is read ({', '.join(FORMATS)})") from error
        except (Image.DecompressionBombError, ValueError, SyntaxError, OSError) as error:
            raise Unreadable(f"the image's header is damaged or unreasonable: {error}") from error
    _check(image, limits)
    image.draft("L", at_least)
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, IndexError, EOFError) as error:
        if "truncated" in str(error) or isinstance(error, EOFError):
            raise Unfinished("the image ends too early: the file was cut off") from error
        raise Unreadable(f"the image's data is damaged: {error}") from error
    image = ImageOps.exif_transpose(image)
    grey = _grey(image)
    darkest, brightest = grey.getextrema()
    if darkest == brightest:
        raise Unreadable("the image is blank: every pixel has the same value")
    return grey


def _check(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.pixels:
        raise Unreadable(
            f"the image has {width} x {height} pixels, more than the limit of {limits.pixels:,} (max_pixels)"
        )
    if min(width, height) < SMALLEST_SIDE:
        raise Unreadable(f"the image has {width} x {height} pixels: too small for a radiograph")
    if getattr(image, "is_animated", False):
        raise Unreadable("the image is animated: a radiograph is a single picture")


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel: stretch what is used of them over 8
        values = np.asarray(image, dtype=np.float32)
        lowest, highest = float(values.min()), float(values.max())
        scale = 255.0 / (highest - lowest) if highest > lowest else 0.0
        return Image.fromarray(((values - lowest) * scale).round().astype(np.uint8))
    return image if image.mode == "L" else image.convert("L")
