"""The picture for a person: 16-bit grey, black being air, that a browser windows; by the worker's own decoders.

What a file says of its grey values is applied but for the window, so that the reader can choose another.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.base.errors import Unreadable
from shared.imaging.formats import BLANK, is_dicom, read_raster
from shared.imaging.limits import Limits
from shared.imaging.notes import Notes
from shared.imaging.scaling import OVERSAMPLING
from shared.imaging.stretching import Floats

WHITE = 65535
FULL = 10_000
"""Wider than any picture: nothing is scaled down to cover it."""
TAIL = 1.0
"""Percent of the pixels that the third window shows as black, and as white."""
SQUARE = 0.01
"""Spacings of rows and columns that differ by less are one spacing."""


@dataclass(frozen=True)
class Window:
    """Values that are shown as black and as white; all between in equal steps."""

    name: str
    low: int
    high: int


@dataclass(frozen=True)
class Viewed:
    """`pixels` have shape (height, width), dtype uint16, values 0 to 2**bits - 1; 0 is black.

    `spacing` is millimetres a pixel of these, as the header says; None if it does not, or if pixels are not square.
    `is_at_detector`: as measured there, where everything is larger than in the patient. `full` is (width, height) of
    the whole picture. The first window is the one to begin with.
    """

    pixels: NDArray[np.uint16]
    bits: int
    windows: tuple[Window, ...]
    spacing: float | None
    is_at_detector: bool
    full: tuple[int, int]
    age_years: float | None
    view: str | None


def view(data: bytes, limits: Limits, max_side: int | None = None, notes: Notes | None = None) -> Viewed:
    """The picture, scaled down where a side is longer than `max_side`.

    What was assumed about the file is added to `notes`. Raises Unreadable and Unfinished as `decode` does.
    """
    notes = Notes() if notes is None else notes
    return _view_dicom(data, limits, max_side, notes) if is_dicom(data) else _view_raster(data, limits, max_side, notes)


def _view_raster(data: bytes, limits: Limits, max_side: int | None, notes: Notes) -> Viewed:
    side = max_side or FULL
    picture = read_raster(data, (side, side), limits, notes)
    full = _size_of(data, picture.image.size)
    if picture.image.mode == "F":
        values = np.asarray(picture.image)
        grey = _Grey.of(values, is_inverted=picture.is_white_zero)
        pixels, bits = _scaled_down(grey.take(values), max_side), grey.bits
    else:
        shallow = picture.to_8_bit()
        shallow.thumbnail((side, side), Image.Resampling.BILINEAR)
        pixels, bits = np.asarray(shallow).astype(np.uint16), 8
    return Viewed(pixels, bits, _windows(pixels, None, bits), None, False, full, None, None)


def _size_of(data: bytes, decoded: tuple[int, int]) -> tuple[int, int]:
    """Of the whole picture, which may have been scaled down while it was decoded, and turned."""
    from io import BytesIO

    try:
        with Image.open(BytesIO(data)) as image:
            width, height = image.size
    except Exception:  # noqa: BLE001 - what Pillow cannot open was decoded by others, at full size
        return decoded
    return (height, width) if (width > height) != (decoded[0] > decoded[1]) else (width, height)


def _view_dicom(data: bytes, limits: Limits, max_side: int | None, notes: Notes) -> Viewed:
    from shared.imaging import dicom, greyscale, orientation  # only those who decode DICOM need pydicom

    dataset = dicom.open_dataset(data, limits, notes)
    with dicom.pixels_of(dataset):
        enough = max_side // OVERSAMPLING if max_side else FULL
        read = dicom.read_values(dataset, (enough, enough), notes)
        values = greyscale.rescale(read.stored, dataset, notes)
        picture = read.picture
        vois = greyscale.usable_voi(values, dataset, picture, read.is_inverted, notes)
        if vois and vois[0].window is None:  # a table bends the values: there is no window that does
            values, vois = vois[0].apply(values), []
        shown = values if picture is None else values[picture]
        if not shown.size or not float(shown.min()) < float(shown.max()):
            raise Unreadable(BLANK)
        grey = _Grey.of(shown, is_inverted=read.is_inverted)
        pixels = grey.take(values)
        if picture is not None:
            pixels[~picture] = 0
        turned = orientation.turn(pixels, dicom.orientation_of(dataset), Notes())
        windows = [window for voi in vois if voi.window is not None and (window := grey.window(voi.window))]
        whole = turned.shape[1] * read.scale, turned.shape[0] * read.scale
        sent = _scaled_down(turned, max_side)
        spacing, is_at_detector = _spacing(dataset, whole[0] / sent.shape[1])
        header = dicom.read_header(data)
        return Viewed(
            sent,
            grey.bits,
            _windows(sent, windows, grey.bits),
            spacing,
            is_at_detector,
            whole,
            header.age_years,
            dicom.view_of(dataset),
        )


@dataclass(frozen=True)
class _Grey:
    """How rescaled values become whole numbers from 0 on: shifted where they are whole already, else spread out."""

    low: float
    high: float
    step: float
    is_inverted: bool

    @classmethod
    def of(cls, shown: Floats, *, is_inverted: bool) -> "_Grey":
        low, high = float(shown.min()), float(shown.max())
        span = high - low
        is_whole = 255 <= span <= WHITE  # whole numbers, or means of them
        return cls(low, high, 1.0 if is_whole else span / WHITE, is_inverted)

    @property
    def bits(self) -> int:
        return max(8, int(np.ceil((self.high - self.low) / self.step)).bit_length())

    def take(self, values: Floats) -> NDArray[np.uint16]:
        from_black = self.high - values if self.is_inverted else values - self.low
        return np.asarray(np.clip(np.rint(from_black / np.float32(self.step)), 0, WHITE), dtype=np.uint16)

    def window(self, ends: tuple[float, float]) -> tuple[int, int] | None:
        low, high = (
            (self.high - ends[1], self.high - ends[0])
            if self.is_inverted
            else (
                ends[0] - self.low,
                ends[1] - self.low,
            )
        )
        low, high = round(low / self.step), round(high / self.step)
        return (low, high) if low < high else None


def _windows(pixels: NDArray[np.uint16], stated: list[tuple[int, int]] | None, bits: int) -> tuple[Window, ...]:
    """The header's, the full range, and that without the darkest and the brightest hundredth.

    Without the header's, a picture of more than 8 bits begins with the last: letters at the highest value that 16 bits
    hold would leave the rest black.
    """
    named = [Window("dicom" if not number else f"dicom{number + 1}", *ends) for number, ends in enumerate(stated or ())]
    low, high = (int(each) for each in np.percentile(pixels, (TAIL, 100 - TAIL)))
    full = Window("full", int(pixels.min()), max(int(pixels.max()), int(pixels.min()) + 1))
    percentile = Window("percentile", low, max(high, low + 1))
    return (percentile, full) if bits > 8 and not named else (*named, full, percentile)


def _scaled_down(pixels: NDArray[np.uint16], max_side: int | None) -> NDArray[np.uint16]:
    height, width = pixels.shape
    if max_side is None or max(height, width) <= max_side:
        return pixels
    ratio = max_side / max(height, width)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    small = Image.fromarray(pixels.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(np.clip(np.rint(np.asarray(small)), 0, WHITE), dtype=np.uint16)


def _spacing(dataset: Any, scale: float) -> tuple[float | None, bool]:
    """Millimetres a pixel that is sent, and whether they are the detector's."""
    from shared.imaging import dicom

    for name, is_at_detector in (("PixelSpacing", False), ("ImagerPixelSpacing", True)):
        sides = dicom.numbers_of(dataset, name)
        if len(sides) == 2 and min(sides) > 0 and abs(sides[0] - sides[1]) <= SQUARE * sides[0]:
            return sides[0] * scale, is_at_detector
    return None, False
