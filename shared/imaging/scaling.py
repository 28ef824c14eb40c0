"""Scaling down by averaging whole squares of pixels, before any arithmetic is done on each pixel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

OVERSAMPLING = 2
"""What is left is at least so many times as wide and as high as what is wanted."""


def choose_step(size: tuple[int, int], at_least: tuple[int, int], oversampling: int = OVERSAMPLING) -> int:
    """How many pixels of each axis may become one; `size` and `at_least` are (width, height)."""
    return max(1, min(have // (oversampling * max(want, 1)) for have, want in zip(size, at_least, strict=True)))


def average(values: NDArray[Any], step: int) -> NDArray[np.float32]:
    """Means over squares of step x step pixels; what is left over at the right and the bottom is dropped."""
    if step == 1:
        return values.astype(np.float32)
    height, width = (side - side % step for side in values.shape)
    rows = values[:height, :width].reshape(height // step, step, width).sum(axis=1, dtype=np.float32)
    total = rows[:, 0::step].copy()  # rows were first: neighbours in memory are added fastest
    for column in range(1, step):
        total += rows[:, column::step]
    return np.asarray(total / np.float32(step * step))
