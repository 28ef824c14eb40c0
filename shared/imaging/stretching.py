"""More than 8 bits to 8: over the range in use, which single hot or dead pixels do not decide."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
OUTLIERS = 1e-3
"""At most this share of the pixels at either end may be cut off: hot pixels and lead letters are no anatomy."""
APART = 0.05
"""They are cut off only if they are further from the rest than this share of the rest's range."""


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
    """The range of values, less outliers: they are cut only where they stand apart from all others."""
    count = max(1, int(OUTLIERS * shown.size))
    if shown.size <= 2 * count + 2:
        return float(shown.min()), float(shown.max())
    lowest = np.partition(shown, count)[: count + 1]
    highest = np.partition(shown, shown.size - count - 1)[shown.size - count - 1 :]
    low, high = float(lowest.max()), float(highest.min())
    span = high - low
    # The tails of an ordinary histogram reach little further: only what stands apart is cut off.
    minimum, maximum = float(lowest.min()), float(highest.max())
    return (low if low - minimum > APART * span else minimum), (high if maximum - high > APART * span else maximum)
