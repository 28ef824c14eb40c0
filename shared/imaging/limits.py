"""What a file may cost, checked before anything is decoded."""

from dataclasses import dataclass
from typing import Self

from shared.base.errors import Unsuitable
from shared.base.settings import Settings

MIN_SIDE = 64


@dataclass(frozen=True)
class Limits:
    """What is decoded: how large a file may be, and what a site calls a frontal chest radiograph."""

    pixels: int = 100_000_000
    bytes: int = 200_000_000
    chest_words: tuple[str, ...] = ()
    """A site's own terms for the chest, beside those of `anatomy`."""
    frontal_words: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.max_pixels, settings.max_bytes, settings.chest_words, settings.frontal_words)


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raises Unsuitable for an image that is too large, or too small for a radiograph."""
    if width * height > limits.pixels:
        raise Unsuitable(
            f"the image has {width} x {height} pixels, more than the limit of {limits.pixels:,} (max_pixels)"
        )
    if min(width, height) < MIN_SIDE:
        raise Unsuitable(f"the image has {width} x {height} pixels: too small for a radiograph")
