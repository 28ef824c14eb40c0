"""Whether a JPEG stream ends properly but too early: libjpeg makes up the rest, in one grey, and does not say so."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

END = b"\xff\xd9"
NOISE = bytes((97 * number + 31) % 251 for number in range(4096))
"""Entropy-coded data, if anything decodes it: no marker is in it."""
TAIL, MAX_PERIOD = 24, 16
"""In bytes. Rows of one grey are coded as one sequence of bits, again and again."""


def is_too_early(stream: bytes, pixels: NDArray[Any], decode: Callable[[bytes], NDArray[Any]]) -> bool:
    """`pixels`, of shape (height, width), are what `decode` makes of the stream.

    Where the last row is all alike, more data are put before the end: a decoder that is done does not look at them.
    """
    if (pixels[-1] != pixels[-1, 0]).any():
        return False
    end = stream.rfind(END)
    tail = stream[max(0, end - TAIL - MAX_PERIOD) : end]
    if end < 0 or any(tail[period:] == tail[:-period] for period in range(1, MAX_PERIOD + 1)):
        return False
    try:
        return not np.array_equal(decode(stream[:end] + NOISE + END), pixels)
    except Exception:  # noqa: BLE001 - decoders raise many kinds
        return True
