"""From stored DICOM values to 8-bit grey: Modality LUT, VOI LUT and presentation (PS3.3 C.11.1, C.11.2, C.7.6.3.1.2).

pydicom's own functions invert a picture whose slope is negative, wrap 8-bit tables and drop the rescale where a window
cannot be used, so the few lines of arithmetic are here. Each step falls back to the next one that makes sense, and
says so in a note.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.imaging.notes import Notes
from shared.imaging.stretching import Floats, Mask, robust_range, stretch

Apply = Callable[[Floats], Floats]
"""Maps rescaled values to brightness from 0 to 1."""

MAX_SATURATED = 0.8
"""A window or table that shows more than this share of the picture as plain black, or as plain white, is not used."""
DARK = 0.03
"""Collimators and air are dark: values in this part of the range in use are no picture in this sense."""
MIN_GREY = 0.05
"""Nor is one that shows less than this share of the picture in other greys."""
MIN_SPREAD = 1 / 256
"""Nor is one that makes everything alike."""
MIN_WIDTH = 16
"""Narrower windows are met with fractional rescale slopes alone, and meant as LINEAR_EXACT."""


def render(
    stored: NDArray[Any], dataset: Dataset, picture: Mask | None, is_inverted: bool, notes: Notes
) -> NDArray[np.uint8]:
    """8-bit grey, shape (height, width), black being air, of stored values of that shape.

    `picture` says which pixels are part of the picture, None if all are: the others become black and decide nothing.
    """
    values = rescale(stored, dataset, notes)
    shown = values.ravel() if picture is None else values[picture]
    brightness = next((voi.apply(values) for voi in _usable(shown, dataset, is_inverted, notes)), values)
    grey = stretch(brightness, picture)
    if is_inverted:
        grey = 255 - grey
    if picture is not None:
        grey[~picture] = 0
    return grey


def rescale(stored: NDArray[Any], dataset: Dataset, notes: Notes) -> Floats:
    """Values after the Modality LUT, or after slope and intercept."""
    for item in _items(dataset, "ModalityLUTSequence"):
        table = _table(item, dataset)
        if table is not None and table.data.min() < table.data.max():
            return table.look_up(stored)
        notes.add("the Modality LUT makes no sense and is not used")
    slope, intercept = _decimal(dataset, "RescaleSlope"), _decimal(dataset, "RescaleIntercept")
    if slope == 0:
        notes.add("a rescale slope of 0 is not used")
        return stored.astype(np.float32, copy=False)
    values = stored.astype(np.float32, copy=False) * np.float32(1.0 if slope is None else slope)
    return np.asarray(values + np.float32(intercept or 0.0), dtype=np.float32)


@dataclass(frozen=True)
class Voi:
    """A VOI table or window. `window` is the values that are shown as black and as white, None for a table.

    Of a sigmoid it is the straight line that touches it in the middle.
    """

    name: str
    apply: Apply
    window: tuple[float, float] | None


def usable_voi(values: Floats, dataset: Dataset, picture: Mask | None, is_inverted: bool, notes: Notes) -> list[Voi]:
    """Those that make sense on the picture's rescaled values; the first is the one that `render` uses."""
    shown = values.ravel() if picture is None else values[picture]
    return list(_usable(shown, dataset, is_inverted, notes))


def _usable(shown: Floats, dataset: Dataset, is_inverted: bool, notes: Notes) -> Iterator[Voi]:
    """The VOI tables and windows that make sense on the picture's values, in the order of PS3.3 C.11.2."""
    for voi in _voi(shown, dataset, notes):
        if _makes_sense(voi.apply, shown, is_inverted):
            yield voi
        else:
            notes.add(f"{voi.name} makes no sense on these pixels and is not used")


def _voi(shown: Floats, dataset: Dataset, notes: Notes) -> Iterator[Voi]:
    for item in _items(dataset, "VOILUTSequence"):
        table = _table(item, dataset)
        if table is None:
            notes.add("the VOI LUT cannot be read and is not used")
        else:
            yield Voi("the VOI LUT", table.placed_on(shown).brightness, None)
    centers, widths = _decimals(dataset, "WindowCenter"), _decimals(dataset, "WindowWidth")
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    for center, width in zip(centers, widths, strict=False):
        if center is None or width is None or width <= 0:
            notes.add("the window cannot be read and is not used")
        else:
            ends = (center - width / 2, center + width / 2)
            yield Voi(f"the window {center:g}/{width:g}", _window(center, width, function), ends)


def _makes_sense(apply: Apply, shown: Floats, is_inverted: bool) -> bool:
    low, high = robust_range(shown)
    at_low, at_high = apply(np.array([low, high], np.float32))
    edge = DARK * (high - low)
    is_dark_high = bool(at_low > at_high) != is_inverted
    picture = shown[shown < high - edge if is_dark_high else shown > low + edge]
    brightness = apply(picture if picture.size else shown)
    if float(brightness.max() - brightness.min()) < MIN_SPREAD:
        return False
    # A sigmoid comes close to black and to white and reaches neither.
    black, white = float((brightness < MIN_SPREAD).mean()), float((brightness > 1 - MIN_SPREAD).mean())
    return max(black, white) <= MAX_SATURATED and 1 - black - white >= MIN_GREY


def _window(center: float, width: float, function: str) -> Apply:
    """LINEAR, LINEAR_EXACT or SIGMOID of PS3.3 C.11.2.1.2; anything else is taken as LINEAR."""
    if function == "SIGMOID":
        return lambda values: 0.5 + 0.5 * np.tanh(2 * (values - np.float32(center)) / np.float32(width))
    low = center - width / 2
    span = width if function == "LINEAR_EXACT" or width < MIN_WIDTH else width - 1
    return lambda values: np.clip((values - np.float32(low)) / np.float32(span), 0, 1)


@dataclass(frozen=True)
class Table:
    """A look-up table: the value for `first` and for each whole number after it; the highest means white."""

    first: int
    data: NDArray[np.int32]

    def placed_on(self, values: Floats) -> Self:
        """With `first` as a negative number, where it was read as one above all values."""
        if self.first > max(32767, float(values.max())):
            return replace(self, first=self.first - 65536)
        return self

    def look_up(self, values: NDArray[Any]) -> Floats:
        places = np.clip(np.rint(values).astype(np.int64) - self.first, 0, len(self.data) - 1)
        return np.asarray(self.data[places], dtype=np.float32)

    def brightness(self, values: Floats) -> Floats:
        return np.asarray(self.look_up(values) / np.float32(max(1, self.data.max())), dtype=np.float32)


def _table(item: Dataset, dataset: Dataset) -> Table | None:
    """The table of a LUT item (PS3.3 C.11.1.1); None if it cannot be read.

    Tables of up to 8 bits stand one entry a word, or two: the number of entries tells.
    """
    try:
        count, first, _bits = (int(number) for number in item.LUTDescriptor)  # the bits are often wrong
        raw = item.LUTData
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on damaged elements
        return None
    count = count & 0xFFFF or 65536
    if first > 32767 and dataset.get("PixelRepresentation") == 1:
        first -= 65536
    order = ">" if getattr(dataset, "is_big_endian", False) or not dataset.original_encoding[1] else "<"
    if isinstance(raw, bytes | bytearray):
        words = np.frombuffer(raw[: len(raw) // 2 * 2], f"{order}u2")
    else:
        words = np.atleast_1d(np.asarray(raw)).astype(np.int64) & 0xFFFF
    data = words.astype(np.int32)
    if len(data) < count <= 2 * len(data):  # two entries a word, the first in the low byte
        data = np.stack([data & 0xFF, data >> 8], axis=1).ravel()
    data = data[:count]
    if len(data) < 2:
        return None
    return Table(first, data)


def _items(dataset: Dataset, name: str) -> list[Dataset]:
    try:
        return list(dataset.get(name) or [])
    except Exception:  # noqa: BLE001 - a damaged element counts as missing
        return []


def _decimals(dataset: Dataset, name: str) -> list[float | None]:
    try:
        value = dataset.get(name)
    except Exception:  # noqa: BLE001 - a damaged element counts as missing
        return []
    if value is None or value == "":
        return []
    texts = [value] if isinstance(value, str | float | int) else list(value)
    return [_number(text) for text in texts]


def _decimal(dataset: Dataset, name: str) -> float | None:
    return next(iter(_decimals(dataset, name)), None)


def _number(text: object) -> float | None:
    """A decimal string, with a comma where some devices write one; None for anything else."""
    try:
        number = float(str(text).strip().replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
