"""Which pixels of a DICOM file are picture: not padding (PS3.3 C.7.5.1.1.2), and within its shutters (C.7.6.11)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.imaging.limits import MIN_SIDE
from shared.imaging.notes import Notes
from shared.imaging.stretching import Mask


def may_be_cut(dataset: Dataset) -> bool:
    """Whether the header speaks of padding or of shutters."""
    return any(name in dataset for name in ("PixelPaddingValue", "ShutterShape"))


def picture(values: NDArray[Any], dataset: Dataset, notes: Notes) -> Mask | None:
    """A mask of shape (height, width), None where every pixel is picture; padding or shutters that leave none are not
    used."""
    mask = np.ones(values.shape, np.bool_)
    for name, inside in (
        ("padding", _not_padding(values, dataset, notes)),
        ("shutter", _within_shutters(values.shape, dataset)),
    ):
        if inside is None:
            continue
        if (mask & inside).any():
            mask &= inside
        else:
            notes.add(f"the {name} covers everything and is not used")
    return None if mask.all() else mask


def bounds(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns that hold picture; all of them where that would be too small for a radiograph."""
    sides = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis=axis))
        sides.append(slice(int(places[0]), int(places[-1]) + 1))
    if min(side.stop - side.start for side in sides) < MIN_SIDE:
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    return sides[0], sides[1]


def _not_padding(values: NDArray[Any], dataset: Dataset, notes: Notes) -> Mask | None:
    value, limit = (_whole(dataset, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if value is None:
        return None
    stated = [value, value if limit is None else limit]
    ends = [_of_the_sign(each, values) for each in stated]
    if ends != stated:
        notes.add(f"the padding is said to be {value}, which the pixels write as {ends[0]}")
    return np.asarray((values < min(ends)) | (values > max(ends)))


def _of_the_sign(number: int, values: NDArray[Any]) -> int:
    """Padding is often written with the other sign than the pixels have, or with more bits."""
    lowest, highest = int(values.min()), int(values.max())
    for candidate in (number, number - 65536, number + 65536, number & ((1 << highest.bit_length()) - 1)):
        if lowest <= candidate <= highest:
            return candidate
    return number


def _within_shutters(shape: tuple[int, ...], dataset: Dataset) -> Mask | None:
    """Rectangle, circle and polygon; a bitmap shutter is an overlay and is not read."""
    kinds = _texts(dataset, "ShutterShape")
    mask = np.ones(shape, np.bool_)
    y, x = np.ogrid[1 : shape[0] + 1, 1 : shape[1] + 1]
    if "RECTANGULAR" in kinds:
        names = ("LeftVerticalEdge", "RightVerticalEdge", "UpperHorizontalEdge", "LowerHorizontalEdge")
        left, right, top, bottom = (_whole(dataset, f"Shutter{name}") for name in names)
        if None not in (left, right, top, bottom):
            mask &= (x > left) & (x < right) & (y > top) & (y < bottom)
    if "CIRCULAR" in kinds:
        center, radius = _wholes(dataset, "CenterOfCircularShutter"), _whole(dataset, "RadiusOfCircularShutter")
        if len(center) == 2 and radius:
            mask &= (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2
    if "POLYGONAL" in kinds:
        vertices = _wholes(dataset, "VerticesOfThePolygonalShutter")
        if len(vertices) >= 6 and len(vertices) % 2 == 0:
            mask &= _polygon(shape, vertices)
    return None if mask.all() else mask


def _polygon(shape: tuple[int, ...], vertices: list[int]) -> Mask:
    from PIL import Image, ImageDraw

    drawing = Image.new("1", (shape[1], shape[0]))
    points = [(column - 1, row - 1) for row, column in zip(vertices[::2], vertices[1::2], strict=True)]
    ImageDraw.Draw(drawing).polygon(points, fill=1)
    return np.asarray(drawing, np.bool_)


def _texts(dataset: Dataset, name: str) -> list[str]:
    value = _value(dataset, name)
    return [value.strip().upper()] if isinstance(value, str) else [str(each).strip().upper() for each in value or []]


def _wholes(dataset: Dataset, name: str) -> list[int]:
    value = _value(dataset, name)
    try:
        return [int(value)] if isinstance(value, str | int | float) else [int(each) for each in value or []]
    except (TypeError, ValueError):
        return []


def _whole(dataset: Dataset, name: str) -> int | None:
    return next(iter(_wholes(dataset, name)), None)


def _value(dataset: Dataset, name: str) -> Any:
    try:
        return dataset.get(name)
    except Exception:  # noqa: BLE001 - a damaged element counts as missing
        return None
