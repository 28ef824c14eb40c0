"""From the bytes of a file to the pixels that a network sees; the trainer and the worker both call `prepare`."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

from shared.imaging.formats import decode
from shared.imaging.limits import Limits
from shared.imaging.notes import Notes


class Preprocessing(BaseModel):
    """How pixels are treated; part of every model version's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=16, le=2048)
    height: int = Field(ge=16, le=2048)
    channels: Literal[1, 3] = 1
    contrast: Literal["none", "equalize"] = "none"


def prepare(data: bytes, preprocessing: Preprocessing, limits: Limits, notes: Notes | None = None) -> NDArray[np.uint8]:
    """Decode one image for a network.

    Returns an array of shape (height, width, channels), dtype uint8, values 0 to 255, black being 0. What was assumed
    about the file is added to `notes`.
    Raises Unreadable for a file that can never be screened, Unfinished for one that ends too early.
    """
    return arrange(decode(data, (preprocessing.width, preprocessing.height), limits, notes), preprocessing)


def arrange(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The pixels of a decoded 8-bit grey image, as `prepare` returns them."""
    image = image.resize((preprocessing.width, preprocessing.height), Image.Resampling.BILINEAR)
    if preprocessing.contrast == "equalize":
        image = ImageOps.equalize(image)
    pixels = np.asarray(image)[:, :, np.newaxis]
    return pixels if preprocessing.channels == 1 else np.repeat(pixels, preprocessing.channels, axis=2)
