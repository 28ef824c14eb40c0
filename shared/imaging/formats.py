"""The picture formats that are read: one record each, found by how a file begins."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PIL import Image

from shared.base.errors import Unfinished, Unreadable, Unsuitable
from shared.imaging import raster
from shared.imaging.limits import Limits
from shared.imaging.notes import Notes

MAX_FIRST_ELEMENT, MAX_FIRST_LENGTH = 0x60, 64
"""Of a DICOM file without a preamble: its first element is a length, a character set, a type or a UID."""
BLANK = "the image is blank: every pixel has the same value"
Decoder = Callable[[bytes, tuple[int, int], Limits, Notes], Image.Image]
"""Takes a file's bytes, the (width, height) that the picture must at least cover, limits, and notes to add to."""


def _decode_dicom(data: bytes, at_least: tuple[int, int], limits: Limits, notes: Notes) -> Image.Image:
    from shared.imaging import dicom  # only those who decode DICOM need pydicom

    return dicom.decode(data, at_least, limits, notes)


def has_preamble(data: bytes) -> bool:
    return data[128:132] == b"DICM"


def is_dicom(data: bytes) -> bool:
    """Whether it begins as DICOM does; without a preamble, with an element of group 8 or of the file meta group."""
    if has_preamble(data):
        return True
    group, element, length = struct.unpack_from("<HHI", data.ljust(8, b"\0"))
    has_representation = data[4:6].isalpha() and data[4:6].isupper()
    return group in (2, 8) and element <= MAX_FIRST_ELEMENT and (has_representation or 0 < length <= MAX_FIRST_LENGTH)


@dataclass(frozen=True)
class Format:
    name: str
    matches: Callable[[bytes], bool]
    decode: Decoder


def _begins(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(beginnings)


def _raster(name: str, *beginnings: bytes) -> Format:
    return Format(name, _begins(*beginnings), partial(raster.decode, pillow_format=name))


FORMATS = (
    Format("DICOM", is_dicom, _decode_dicom),
    _raster("JPEG", b"\xff\xd8\xff"),
    _raster("PNG", b"\x89PNG\r\n\x1a\n"),
    _raster("BMP", b"BM"),
    Format(
        "WEBP", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", partial(raster.decode, pillow_format="WEBP")
    ),
    _raster("JPEG2000", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    _raster("TIFF", b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0"),
)


def recognise(data: bytes) -> Format:
    """The format that a file begins as; raises Unreadable."""
    for each in FORMATS:
        if each.matches(data):
            return each
    known = ", ".join(each.name for each in FORMATS)
    raise Unreadable(f"the content is not an image in a format that is read ({known})")


def decode(data: bytes, at_least: tuple[int, int], limits: Limits, notes: Notes | None = None) -> Image.Image:
    """Decode to 8-bit grey, at the smallest cheap scale that still covers `at_least` (width, height).

    What was assumed about the file is added to `notes`.

    Raises Unreadable for a file that can never be screened, Unfinished for one that ends too early.
    """
    _check_bytes(data, limits)
    grey = recognise(data).decode(data, at_least, limits, Notes() if notes is None else notes)
    _check_contrast(grey)
    return grey


def read_raster(data: bytes, at_least: tuple[int, int], limits: Limits, notes: Notes) -> raster.Picture:
    """A picture that is no DICOM, with all bits of its file; else as `decode`."""
    _check_bytes(data, limits)
    picture = raster.read(data, at_least, limits, notes, pillow_format=recognise(data).name)
    _check_contrast(picture.image)
    return picture


def _check_bytes(data: bytes, limits: Limits) -> None:
    if not data:
        raise Unfinished("the file is empty")
    if len(data) > limits.bytes:
        raise Unsuitable(f"the file has {len(data):,} bytes, more than the limit of {limits.bytes:,} (max_bytes)")


def _check_contrast(image: Image.Image) -> None:
    darkest, brightest = image.getextrema()
    if darkest == brightest:
        raise Unreadable(BLANK)
