"""DICOM files as pydicom reads them, and their elements, of which any may be missing or damaged.

Nothing here logs or repeats what a header says about the patient.
"""

import re
import zlib
from contextlib import suppress
from io import BytesIO

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.uid import UID, RLELossless

from shared.base.errors import ImageError, Unfinished, Unreadable, Unsuitable
from shared.imaging.formats import has_preamble
from shared.imaging.notes import Notes

IMPLICIT, EXPLICIT, EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"  # as a whole file, not its frame: once inflated, it is as the explicit one
UNCOMPRESSED = (IMPLICIT, EXPLICIT, EXPLICIT_BIG_ENDIAN, DEFLATED)
JPEG, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
HIGH_THROUGHPUT = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
LOSSLESS = (*JPEG_LOSSLESS, JPEG_LS[0], JPEG_2000[0], *HIGH_THROUGHPUT[:2], str(RLELossless))
COMPRESSED = (JPEG, JPEG_EXTENDED, *JPEG_LOSSLESS, *JPEG_LS, *JPEG_2000, *HIGH_THROUGHPUT)
SYNTAXES = (*UNCOMPRESSED, *COMPRESSED, str(RLELossless))
"""Transfer syntaxes that are read."""
MAX_INFLATED = 250_000_000
"""Bytes of a deflated file's elements: more than the pixels that are read need. pydicom inflates without a limit."""
INFLATED = b"\x02\0\x10\0UI\x14\0" + EXPLICIT.encode() + b"\0"
"""What stands before them once they are inflated: their transfer syntax, as a file's meta information."""
ESCAPE = b"\x1b"
"""Switches between character sets (ISO 2022), all of them in 7 bits."""
FLOAT_PIXELS, PIXELS = 0x7FE00008, 0x7FE00010
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
ENCAPSULATED = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + ITEM

config.settings.reading_validation_mode = config.IGNORE  # its warnings would repeat the header's text


def parse(data: bytes, *, stop_before_pixels: bool, notes: Notes | None = None) -> Dataset:
    """The file's elements; raises Unfinished where it was cut off, Unreadable where it is damaged.

    Files without a preamble or a transfer syntax are read as what their first element looks like. What was assumed goes
    into `notes`.
    """
    try:
        syntax, start = _stated_syntax(data)
        if syntax == DEFLATED:
            data = INFLATED + _inflate(data[start:])
        is_closed = bool(syntax) and syntax.is_private
        dataset = (
            Dataset() if is_closed else _read(data, syntax, notes or Notes(), stop_before_pixels=stop_before_pixels)
        )
    except EOFError as error:
        raise Unfinished("the DICOM file ends within its header: it was cut off") from error
    except ImageError:
        raise
    except Exception as error:
        raise Unreadable("the DICOM file is damaged: its header cannot be read") from error
    if is_closed:  # never parsed: dcmread would guess at it
        raise unsupported(syntax)
    if syntax == DEFLATED:
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _stated_syntax(data: bytes) -> tuple[UID, int]:
    """From the file's meta information, which may stand there without a preamble, and where that ends.

    It is empty if there is none.
    """
    file = BytesIO(data)
    file.seek(132 if has_preamble(data) else 0)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != 2)
    return UID(str(meta.get("TransferSyntaxUID", ""))), file.tell()


def _inflate(data: bytes) -> bytes:
    """The elements of a file in the deflated syntax (PS3.5 A.5); raises Unfinished, or Unsuitable if they are huge."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    elements = stream.decompress(data, MAX_INFLATED)
    if stream.unconsumed_tail:
        raise Unsuitable(f"the deflated DICOM file holds more than {MAX_INFLATED:,} bytes")
    if not stream.eof:
        raise Unfinished("the deflated DICOM file ends too early: it was cut off")
    return elements


def _read(data: bytes, syntax: UID, notes: Notes, *, stop_before_pixels: bool) -> Dataset:
    is_open_ended = syntax in (*COMPRESSED, str(RLELossless)) and not data.rstrip(b"\0").endswith(
        DELIMITER.rstrip(b"\0")
    )
    has_fragments = is_open_ended and data.rfind(ENCAPSULATED) >= 0  # else its pixels are not compressed, or missing
    dataset = _read_elements(data, stop_before_pixels=stop_before_pixels or has_fragments)
    if not syntax:
        is_implicit, is_little = dataset.original_encoding
        guessed = IMPLICIT if is_implicit else EXPLICIT if is_little else EXPLICIT_BIG_ENDIAN
        dataset.file_meta = FileMetaDataset() if not hasattr(dataset, "file_meta") else dataset.file_meta
        dataset.file_meta.TransferSyntaxUID = UID(guessed)
        notes.add(f"no transfer syntax is stated: read as {UID(guessed).name}")
    if has_fragments and not stop_before_pixels and "Rows" in dataset:
        dataset.PixelData = _open_ended_pixels(data)
        notes.add("the end of the pixels is not marked")
    return dataset


def _read_elements(data: bytes, *, stop_before_pixels: bool) -> Dataset:
    """As `dcmread` does, but nothing that stands after the pixels; raises Unfinished where pydicom gives nothing.

    It swallows what it has read where a file ends within an element's header, and calls a file empty then.
    """
    last = FLOAT_PIXELS - 1 if stop_before_pixels else PIXELS
    dataset = read_partial(BytesIO(data), lambda tag, *_: tag > last, force=True)
    if not len(dataset):
        raise Unfinished("the DICOM file ends within its header: it was cut off")
    return dataset


def _open_ended_pixels(data: bytes) -> bytes:
    """Encapsulated pixel data that lack the last delimiter; raises Unfinished if the last fragment is cut off."""
    start = data.rfind(ENCAPSULATED)
    pixels = data[start + len(ENCAPSULATED) - len(ITEM) :]
    at = 0
    while pixels[at : at + 4] == ITEM:
        at += 8 + int.from_bytes(pixels[at + 4 : at + 8], "little")
    if at > len(pixels) or not at:
        raise Unfinished("the DICOM file ends within its pixels: it was cut off")
    return pixels[:at] + DELIMITER


def text_of(dataset: Dataset, name: str) -> str | None:
    """A value as text, None if it is missing, empty or unreadable; of several the first."""
    try:
        value = dataset.get(name)
        value = value if value is None or isinstance(value, str) else (list(value) or [None])[0]
    except Exception:  # noqa: BLE001 - a damaged element is a missing one
        return None
    if not isinstance(value, str):  # of a sequence, damaged or not, `str` would tell all that is in it
        return None
    return value.replace("\0", "").strip() or None


def word_of(dataset: Dataset, name: str) -> str:
    """A code string in capitals, cut to the length that DICOM allows, since reasons repeat it; empty if missing."""
    return re.sub(r"[^A-Z0-9 _-]", "?", (text_of(dataset, name) or "").upper())[:16]


def number_of(dataset: Dataset, name: str) -> int | None:
    try:
        return int(dataset.get(name))
    except Exception:  # noqa: BLE001 - a damaged element is a missing one
        return None


def bits_allocated(dataset: Dataset) -> int:
    """As stated, unless the length of uncompressed pixels fits another depth exactly."""
    stated = number_of(dataset, "BitsAllocated") or 16
    rows, columns, samples = (number_of(dataset, name) for name in ("Rows", "Columns", "SamplesPerPixel"))
    if syntax_of(dataset) not in UNCOMPRESSED or not isinstance(pixels := dataset.get("PixelData"), bytes):
        return stated
    count = (rows or 0) * (columns or 0) * (samples or 1)
    fitting = [bits for bits in (8, 16, 32) if len(pixels) == count * bits // 8 + (count * bits // 8) % 2]
    return fitting[0] if fitting else stated


def letters_of(dataset: Dataset, name: str) -> tuple[str, ...]:
    """The first letter of each value of an element, in capitals."""
    try:
        return tuple(str(value).strip().upper()[:1] for value in dataset.get(name) or ())
    except Exception:  # noqa: BLE001 - a damaged element counts as missing
        return ()


def code_of(dataset: Dataset, name: str) -> tuple[str, str] | None:
    """(code, meaning) of a code sequence's first item."""
    try:
        item = dataset.get(name)[0]
    except Exception:  # noqa: BLE001 - a damaged element is a missing one
        return None
    meaning = re.sub(r"[^A-Za-z -]", "?", text_of(item, "CodeMeaning") or "")[:32]
    return text_of(item, "CodeValue") or "", meaning or "not stated"


def syntax_of(dataset: Dataset) -> UID:
    return UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))


def unsupported(syntax: UID) -> Unreadable:
    known = syntax.name if syntax.is_valid else "whose number is damaged"  # the text may be about the patient
    name = known if syntax else "not stated"
    return Unreadable(f"the transfer syntax {name} is not read: have the PACS send it uncompressed")


def in_its_characters(text: str, dataset: Dataset) -> str:
    """A code string in the file's character set: DICOM allows it none, so pydicom reads it as Latin-1.

    UTF-8 is tried first: hardly anything else happens to be valid UTF-8, and many a file does not state it.
    """
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:  # of an element that has its characters already
        return text
    if ESCAPE not in raw:
        with suppress(UnicodeDecodeError):
            return raw.decode("utf-8")
    try:
        encodings = convert_encodings(dataset.get("SpecificCharacterSet") or None)
        return decode_bytes(raw, [each for each in encodings if each.lower() != "utf8"] or ["latin-1"], set())
    except Exception:  # noqa: BLE001 - it stays as it is
        return text
