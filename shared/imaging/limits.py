"""What a file may cost, checked before anything is decoded."""

from dataclasses import dataclass

from shared.base.errors import Unsuitable

MIN_SIDE = 64


@dataclass(frozen=True)
class Limits:
    """Limits on a file before it is decoded."""

    pixels: int = 100_000_000
    bytes: int = 200_000_000


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raises Unsuitable for an image that is too large, or too small for a radiograph."""
    if width * height > limits.pixels:
        raise Unsuitable(
            f"the image has {width} x {height} pixels, more than the limit of {limits.pixels:,} (max_pixels)"
        )
    if min(width, height) < MIN_SIDE:
        raise Unsuitable(f"the image has {width} x {height} pixels: too small for a radiograph")
