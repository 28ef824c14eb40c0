"""More than 8 bits to 8: over the range in use, which single hot or dead pixels do not decide."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
OUTLIERS, APART = 1e-3, 0.05
"""At most this share of the pixels at either end is cut off, as hot pixels are no anatomy; and only if they are further
from the rest than this share of the rest's range."""
BURNED_IN, FAR_APART = 0.05, 3.0
"""The same for what is burned in, such as letters at the highest value that 16 bits hold. Pixels that have exactly the
highest or the lowest value, as a border has, do not count as the rest at all."""
MARGIN = 0.25
"""Share of the rest's range that is left beyond it then: the range without those is narrower than the picture's."""


def stretch(values: Floats, picture: Mask | None = None) -> NDArray[np.uint8]:
    """Stretch to 0 to 255 over the range in use, without OUTLIERS at either end."""
    shown = values.ravel() if picture is None else values[picture]
    if not shown.size:
        return np.zeros(values.shape, np.uint8)
    low, high = robust_range(shown)
    scale = 255.0 / (high - low) if high > low else 0.0
    grey = (np.clip(values, low, high) - low) * np.float32(scale)
    return np.asarray(np.rint(grey), dtype=np.uint8)


def robust_range(shown: Floats) -> tuple[float, float]:
    """The range of values, less what stands apart from all others: the tails of an ordinary histogram do not."""
    minimum, maximum = float(shown.min()), float(shown.max())
    low, high = _ends(shown, OUTLIERS)
    span = high - low
    low, high = (low if low - minimum > APART * span else minimum), (high if maximum - high > APART * span else maximum)
    rest = shown[(shown > low) & (shown < high)]
    if rest.size:
        lowest, highest = _ends(rest, BURNED_IN)
        span = highest - lowest
        if lowest - low > FAR_APART * span:
            low = lowest - MARGIN * span
        if high - highest > FAR_APART * span:
            high = highest + MARGIN * span
    return low, high


def _ends(values: Floats, share: float) -> tuple[float, float]:
    """The lowest and the highest value, without that share of all at each end."""
    count = max(1, int(share * values.size))
    if values.size <= 2 * count + 2:
        return float(values.min()), float(values.max())
    parted = np.partition(values, (count, values.size - count - 1))
    return float(parted[count]), float(parted[values.size - count - 1])
