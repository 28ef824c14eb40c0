"""Plain picture files as grey: Pillow decodes them, and tifffile the TIFF files that Pillow reads wrongly."""

import re
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from shared.base.errors import OutOfReach, Unfinished, Unreadable, Unsuitable
from shared.base.host_failures import describe_host_failure
from shared.imaging import jpeg_end, png
from shared.imaging.limits import Limits, check_size
from shared.imaging.notes import Notes
from shared.imaging.scaling import average, choose_step
from shared.imaging.stretching import stretch

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is only a warning: `check_size` applies ours before decoding
LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""Pillow keeps the high byte of 16-bit colour. Read with the bytes swapped, the same file gives the low one."""
GREY_AND_ALPHA = "LA;16B"
"""16 bits of each: the same four bytes as 8 bits of red, green, blue and alpha."""
ANIMATED = ("PNG", "WEBP")
SEVERAL = "the file is animated or has several pages: a radiograph is a single image"
MAX_PAGES = 8
"""More pages are not looked at: whatever the others are, these are no single radiograph with its thumbnails."""
MAX_SAMPLES = 4
REDUCED = 1
"""NewSubfileType of a TIFF's page: a smaller version of another page."""


@dataclass(frozen=True)
class Picture:
    """Grey and upright: 8 bits a pixel (`image` has mode L), or the file's own values where it has more (mode F)."""

    image: Image.Image
    is_white_zero: bool = False

    def to_8_bit(self) -> Image.Image:
        image = Image.fromarray(stretch(np.asarray(self.image))) if self.image.mode == "F" else self.image
        return ImageOps.invert(image) if self.is_white_zero else image


def decode(data: bytes, at_least: tuple[int, int], limits: Limits, notes: Notes, *, pillow_format: str) -> Image.Image:
    """Decode one file of the named Pillow format to 8-bit grey; raises as `read`."""
    return read(data, at_least, limits, notes, pillow_format=pillow_format).to_8_bit()


def read(data: bytes, at_least: tuple[int, int], limits: Limits, notes: Notes, *, pillow_format: str) -> Picture:
    """Read one file of the named Pillow format, at the smallest cheap scale that covers `at_least`.

    Raises Unreadable for a file that can never be decoded, Unfinished for one that ends too early.
    """
    try:
        if pillow_format == "TIFF":
            return _read_tiff(data, at_least, limits, notes)
        return Picture(_read(data, at_least, limits, notes, pillow_format))
    except (MemoryError, Unreadable, Unfinished):
        raise
    except Exception as error:
        if problem := describe_host_failure(error):
            raise OutOfReach(problem) from error
        raise _classify(error) from error


def _read(
    data: bytes, at_least: tuple[int, int], limits: Limits, notes: Notes, pillow_format: str, page: int = 0
) -> Image.Image:
    image: Any = _open(data, pillow_format)
    image.seek(page)
    check_size(image.width, image.height, limits)
    if pillow_format in ANIMATED and getattr(image, "is_animated", False):
        raise Unsuitable(SEVERAL)
    rawmode = image.tile[0].args if image.tile else None
    if rawmode in LOW_BYTES:
        return _deep_colour(data, image, pillow_format, at_least)
    if rawmode == GREY_AND_ALPHA:
        return _deep_grey(image, at_least)
    if image.format == "MPO":
        notes.add("the first picture of the file was taken, the others belong to it (a preview or a gain map)")
    if pillow_format == "PNG" and image.mode == "I;16" and (deep := png.decode(data, image.size)) is not None:
        return _upright_as(image, _deep(deep, at_least))
    image.draft("L", at_least)
    image.load()
    if pillow_format == "JPEG" and jpeg_end.is_too_early(data, _plane(image), partial(_drafted, at_least=at_least)):
        raise Unfinished("the image ends too early: its stream of pixels was cut off")
    if pillow_format == "PNG" and not np.asarray(image.crop((0, image.height - 1, image.width, image.height))).any():
        _check_rows(data)
    if pillow_format == "JPEG2000" and image.mode not in ("L", "I;16") and _depth(data) > 8:
        raise Unsuitable("colour or transparency of more than 8 bits in JPEG 2000 is not read: save it as PNG or TIFF")
    return _grey(_upright(image), at_least)


def _open(data: bytes, pillow_format: str) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=(pillow_format,))
    except UnidentifiedImageError as error:
        raise Unfinished(
            "the image's header is damaged or of a kind that is not read (as JPEG lossless is), or the file was cut off"
        ) from error


def _deep_colour(data: bytes, image: Any, pillow_format: str, at_least: tuple[int, int]) -> Image.Image:
    """16-bit colour, of which a radiograph needs all bits: the mean of the colours, weighted as Pillow does."""
    low: Any = _open(data, pillow_format)
    low.tile = [tile._replace(args=LOW_BYTES[tile.args]) for tile in low.tile]
    high_bytes, low_bytes = (np.asarray(each)[:, :, :3].astype(np.float32) for each in (image, low))
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return _upright_as(image, _deep((256 * high_bytes + low_bytes) @ weights, at_least))


def _deep_grey(image: Any, at_least: tuple[int, int]) -> Image.Image:
    """16-bit grey with transparency, of which Pillow would keep the high byte."""
    image._mode = "RGBA"
    image.tile = [tile._replace(args="RGBA") for tile in image.tile]
    halves = np.asarray(image)[:, :, :2].astype(np.uint16)
    return _upright_as(image, _deep(256 * halves[:, :, 0] + halves[:, :, 1], at_least))


def _drafted(data: bytes, at_least: tuple[int, int]) -> NDArray[np.uint8]:
    image = _open(data, "JPEG")
    image.draft("L", at_least)
    return _plane(image)


def _plane(image: Image.Image) -> NDArray[np.uint8]:
    """The first channel."""
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 2 else pixels[:, :, 0]


def _check_rows(data: bytes) -> None:
    """Of a PNG file whose last row is black: it may be missing."""
    try:
        is_short = png.lacks_rows(data)
    except Exception:  # noqa: BLE001 - Pillow read it: what it passes over is no reason
        return
    if is_short:
        raise Unfinished("the image ends too early: rows of its pixels are missing")


def _depth(data: bytes) -> int:
    """Bits of the first component of a JPEG 2000 stream (ITU T.800 A.5.1)."""
    return (data[data.index(b"\xff\x4f\xff\x51") + 42] & 0x7F) + 1


def _read_tiff(data: bytes, at_least: tuple[int, int], limits: Limits, notes: Notes) -> Picture:
    import tifffile  # only TIFF files need it

    with tifffile.TiffFile(BytesIO(data)) as file:
        page, number = _page(file, notes)
        check_size(page.imagewidth, page.imagelength, limits)
        if page.size > MAX_SAMPLES * page.imagewidth * page.imagelength:
            raise Unsuitable("the TIFF file is neither greyscale nor in colour: it has too many samples a pixel")
        is_white_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        if page.bitspersample <= 8 and page.sampleformat != tifffile.SAMPLEFORMAT.INT:
            return Picture(_read(data, at_least, limits, notes, "TIFF", number))
        try:
            values = page.asarray()
        except ValueError:  # tifffile has no decoder for this compression
            return Picture(_read(data, at_least, limits, notes, "TIFF", number), is_white_zero)
        if values.dtype.kind not in "uif" or values.ndim not in (2, 3):
            raise Unsuitable("the pixels of the TIFF file are neither whole numbers nor fractions")
        grey = values if values.ndim == 2 else _of_colours(values, is_planar=page.planarconfig == 2)
        return Picture(_orient(page, _deep(grey, at_least)), is_white_zero)


def _page(file: Any, notes: Notes) -> tuple[Any, int]:
    """The one page that is no smaller version of another; raises Unsuitable if there are several."""
    pages = list(islice(enumerate(file.pages), MAX_PAGES))
    if not pages:
        raise Unfinished("the TIFF file has no page: it was cut off, or is damaged")
    if not all(isinstance(side, int) for _, page in pages for side in (page.imagewidth, page.imagelength)):
        raise Unreadable("the TIFF file is damaged: it states several widths or heights of one page")
    number, page = max(pages, key=lambda each: each[1].imagewidth * each[1].imagelength)
    if sum(not _is_smaller_version(each, page) for _, each in pages) > 1 or len(pages) == MAX_PAGES:
        raise Unsuitable(SEVERAL)
    if len(pages) > 1:
        notes.add("the largest of the file's pages was taken, the others are smaller versions of it")
    return page, number


def _is_smaller_version(page: Any, largest: Any) -> bool:
    """Marked as one; or, as thumbnails often are not, of the same proportions and of half the sides at most."""
    if int(page.subfiletype) & REDUCED:
        return True
    ratio = page.imagewidth / largest.imagewidth
    return bool(ratio <= 0.5 and abs(page.imagelength / largest.imagelength - ratio) < 0.02)


def _of_colours(values: NDArray[Any], *, is_planar: bool) -> NDArray[np.float32]:
    channels = values if is_planar else np.moveaxis(values, 2, 0)
    weights = (0.299, 0.587, 0.114) if len(channels) >= 3 else (1.0,)
    total = sum(
        np.float32(weight) * channel for weight, channel in zip(weights, channels.astype(np.float32), strict=False)
    )
    return np.asarray(total, dtype=np.float32)


def _finite(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is no number, as programs mark what is no picture, becomes the lowest value."""
    is_number = np.isfinite(grey)
    return grey if is_number.all() or not is_number.any() else np.where(is_number, grey, grey[is_number].min())


def _orient(page: Any, grey: NDArray[np.float32]) -> Image.Image:
    image = Image.fromarray(grey)
    tag = page.tags.get("Orientation")
    image.getexif()[0x0112] = int(tag.value) if tag else 1
    return _upright(image)


def _upright(image: Image.Image) -> Image.Image:
    """Rotate as the EXIF data say; unreadable EXIF data are ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - Pillow raises many kinds on damaged data
        return image


def _upright_as(image: Image.Image, grey: NDArray[np.float32]) -> Image.Image:
    turned = Image.fromarray(grey)
    turned.info = dict(image.info)
    return _upright(turned)


def _grey(image: Image.Image, at_least: tuple[int, int]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # more than 8 bits a pixel
        return Image.fromarray(_deep(np.asarray(image), at_least))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to grey, Pillow would warn
    return image if image.mode == "L" else image.convert("L")


def _deep(values: NDArray[Any], at_least: tuple[int, int]) -> NDArray[np.float32]:
    """As they are; whole numbers are averaged, as in DICOM. Fractions may be infinite, or no number."""
    if values.dtype.kind == "f":
        return _finite(values.astype(np.float32, copy=False))
    height, width = values.shape
    return average(values, choose_step((width, height), at_least))


def _classify(error: Exception) -> Unfinished | Unreadable:
    """Classify a decoding error: the libraries raise many kinds on damaged files."""
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return Unfinished("the image ends too early: the file was cut off")
    text = re.sub("[^ -~]", "?", str(error))[:200]
    return Unreadable(f"the image is damaged: {text or type(error).__name__}")
