"""The numbers that a DICOM file stores, with headers repaired where the numbers say plainly what they are.

BitsStored, HighBit and PixelRepresentation say which bits of a word are the value (PS3.5 section 8.1). Where they are
wrong, values wrap around: a bright pixel stands beside a dark one all over the picture. A radiograph is smooth, so the
reading under which it is by far the smoothest is the right one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import Unreadable

ROWS_LOOKED_AT = 128
MUCH_SMOOTHER = 0.5
"""Another reading is right if its roughness is at most this share of the stated one's."""


@dataclass(frozen=True)
class Layout:
    """Which bits of a word hold a value: `bits` of them from bit `shift` on, as two's complement if `is_signed`."""

    bits: int
    shift: int = 0
    is_signed: bool = False

    def read(self, words: NDArray[Any]) -> NDArray[Any]:
        """Values of unsigned words of 8, 16 or 32 bits, in the shape and width given (a view where it can be)."""
        width = 8 * words.dtype.itemsize
        highest = (1 << self.bits) - 1
        if not self.is_signed:
            if self.shift == 0:  # nearly all there is, and mostly nothing stands above the value
                return words if words.max() <= highest else words & highest
            return words >> self.shift & highest
        above = width - self.shift - self.bits
        at_the_top = words << above if above else words
        signed = at_the_top.view(at_the_top.dtype.str.replace("u", "i"))
        return signed >> (width - self.bits) if width > self.bits else signed

    def __str__(self) -> str:
        place = f" from bit {self.shift} on" if self.shift else ""
        return f"{self.bits} bits{place}, {'signed' if self.is_signed else 'unsigned'}"


def choose_layout(words: NDArray[Any], stated: Layout, overlay_bits: int = 0) -> tuple[Layout, list[str]]:
    """How to read words of shape (height, width), unsigned: as stated, or repaired, with a note for each repair.

    `overlay_bits` is a mask of bits that hold overlays, not values. Raises Unreadable where the header contradicts the
    data and no other reading is plainly right.
    """
    sample = words[:: max(1, len(words) // ROWS_LOOKED_AT)] & ~np.array(overlay_bits, words.dtype)
    roughness = _roughness(stated.read(sample))
    best, least = stated, roughness
    for other in (other for other in _others(sample, stated) if _is_possible(sample, other)):
        rough = _roughness(other.read(sample))
        if rough < least:
            best, least = other, rough
    if best != stated and least <= MUCH_SMOOTHER * roughness:
        return best, [f"the header says {stated}, the pixels are {best}"]
    if not _is_possible(sample, stated):
        raise Unreadable(f"the header says {stated}, and the pixels use other bits: it cannot be told which are right")
    return stated, []


def _others(words: NDArray[Any], stated: Layout) -> Iterator[Layout]:
    """Layouts that the bits in use allow: the other sign, more bits, values at the other end of the word."""
    width = 8 * words.dtype.itemsize
    used = int(np.bitwise_or.reduce(words, axis=None))
    highest = max(used.bit_length(), 1)
    yield Layout(stated.bits, stated.shift, not stated.is_signed)
    for bits in sorted({highest, width} - {stated.bits + stated.shift}):
        yield Layout(bits)
        yield Layout(bits, is_signed=True)
    if stated.bits < width:
        yield Layout(stated.bits, width - stated.bits)
    if stated.shift:
        yield Layout(stated.bits)


def _is_possible(words: NDArray[Any], stated: Layout) -> bool:
    """Whether nothing but the value is in the words: unused bits are zero, or repeat the sign."""
    top = words >> (stated.shift + stated.bits)
    low = words & ((1 << stated.shift) - 1)
    if not stated.is_signed:
        return not top.any() and not low.any()
    ones = (1 << (8 * words.dtype.itemsize - stated.shift - stated.bits)) - 1
    return bool(((top == 0) | (top == ones)).all()) and not low.any()


def _roughness(values: NDArray[Any]) -> float:
    """The mean step between neighbours in a row, as a share of the range from the 1st to the 99th percentile."""
    ordered = np.sort(values[:, ::4], axis=None)  # a quarter says as much of the range
    low, high = int(ordered[len(ordered) // 100]), int(ordered[-1 - len(ordered) // 100])
    wide = values.astype(np.int32 if values.dtype.itemsize <= 2 else np.int64)
    return float(np.abs(np.diff(wide, axis=1)).mean() / max(high - low, 1))
