"""DICOM: selects frontal chest radiographs, reads what is kept of their headers, and decodes their pixels.

Nothing here logs or repeats what a header says about the patient.
"""

import math
import re
import struct
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import config, dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, RLELossless

from shared.base.errors import ImageError, OutOfReach, Unfinished, Unreadable, Unsuitable
from shared.imaging import anatomy, extent, gdcm_process, greyscale, orientation
from shared.imaging.anatomy import Stated
from shared.imaging.formats import has_preamble
from shared.imaging.greyscale import Notes
from shared.imaging.limits import Limits, check_size
from shared.imaging.stored_values import Layout, read_values

IMPLICIT, EXPLICIT, EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
ENCAPSULATED = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + ITEM
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
UNCOMPRESSED = (IMPLICIT, EXPLICIT, EXPLICIT_BIG_ENDIAN)
COMPRESSED = (
    *("1.2.840.10008.1.2.4.50", JPEG_EXTENDED),  # JPEG baseline, and extended of 8 bits: no permissive decoder reads 12
    *("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"),  # JPEG lossless
    *("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),  # JPEG-LS
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),  # JPEG 2000
    *("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),  # high-throughput JPEG 2000
)
SYNTAXES = (*UNCOMPRESSED, *COMPRESSED, str(RLELossless))
"""Transfer syntaxes that are read. Not the deflated one: pydicom inflates it without a bound."""
MODALITIES = ("CR", "DX", "RG")
RAW = "1.2.840.10008.5.1.4.1.1.1.1.1"  # digital X-ray for processing
DOCUMENTS = "1.2.840.10008.5.1.4.1.1.104."  # encapsulated PDF, CDA, STL …
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}

config.settings.reading_validation_mode = config.IGNORE  # its warnings would repeat the header's text


def _register_gdcm_process() -> None:
    """GDCM can crash on damaged frames, so run it in a subprocess, and only where nothing else decodes."""
    for syntax in COMPRESSED:
        decoder = get_decoder(UID(syntax))
        if "gdcm" in decoder.available_plugins:
            decoder.remove_plugin("gdcm")
        if gdcm_process.is_available(syntax) and "gdcm_process" not in decoder.available_plugins:
            decoder.add_plugin("gdcm_process", ("shared.imaging.gdcm_process", "decode_frame"))


_register_gdcm_process()


@dataclass(frozen=True)
class Header:
    """What is kept of a header. `patient` is the patient's id with its issuer: it is hashed, never stored."""

    study_uid: str | None
    sop_instance_uid: str | None
    accession_number: str | None
    patient: str | None
    age_years: float | None


def read_header(data: bytes) -> Header:
    """Read what is kept of a DICOM header; raises Unreadable or Unfinished."""
    dataset = _parse(data, stop_before_pixels=True)
    patient = _text(dataset, "PatientID")
    return Header(
        study_uid=_text(dataset, "StudyInstanceUID"),
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        accession_number=_text(dataset, "AccessionNumber"),
        patient=f"{_text(dataset, 'IssuerOfPatientID') or ''}|{patient}" if patient else None,
        age_years=_age(dataset),
    )


def decode(data: bytes, limits: Limits) -> Image.Image:
    """Decode a frontal chest radiograph to 8-bit grey, air being black: rescaled and windowed as its header says.

    Raises Unreadable with the reason for any other file, Unfinished for one that ends too early.
    """
    dataset = _parse(data, stop_before_pixels=False)
    try:
        _check_kind(dataset)
        _check_view(dataset)
        _check_pixels(dataset, limits)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise Unreadable("the DICOM file is damaged: an element of its header cannot be read") from error
    try:
        return Image.fromarray(_render(dataset, Notes()))
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        if gdcm_process.NO_PROCESS in str(error):
            raise OutOfReach(gdcm_process.NO_PROCESS) from error
        raise Unreadable(f"the image in the DICOM file is damaged: {_syntax(dataset).name} did not decode") from error


def _parse(data: bytes, *, stop_before_pixels: bool) -> Dataset:
    """The file's elements; raises Unfinished where it was cut off, Unreadable where it is damaged.

    Files without a preamble or a transfer syntax are read as what their first element looks like.
    """
    try:
        syntax = _stated_syntax(data)
        is_closed = syntax == DeflatedExplicitVRLittleEndian or (bool(syntax) and syntax.is_private)
        dataset = Dataset() if is_closed else _read(data, syntax, stop_before_pixels=stop_before_pixels)
    except EOFError as error:
        raise Unfinished("the DICOM file ends within its header: it was cut off") from error
    except ImageError:
        raise
    except Exception as error:
        raise Unreadable("the DICOM file is damaged: its header cannot be read") from error
    if is_closed:  # never parsed: dcmread would inflate without a limit, and guess at private syntaxes
        raise _unsupported(syntax)
    return dataset


def _stated_syntax(data: bytes) -> UID:
    if not has_preamble(data):
        return UID("")
    file = BytesIO(data)
    file.seek(132)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != 2)
    return UID(str(meta.get("TransferSyntaxUID", "")))


def _read(data: bytes, syntax: UID, *, stop_before_pixels: bool) -> Dataset:
    is_open_ended = syntax in (*COMPRESSED, str(RLELossless)) and not data.rstrip(b"\0").endswith(
        DELIMITER.rstrip(b"\0")
    )
    dataset = dcmread(BytesIO(data), stop_before_pixels=stop_before_pixels or is_open_ended, force=True)
    if not syntax:
        is_implicit, is_little = dataset.original_encoding
        guessed = IMPLICIT if is_implicit else EXPLICIT if is_little else EXPLICIT_BIG_ENDIAN
        dataset.file_meta = FileMetaDataset() if not hasattr(dataset, "file_meta") else dataset.file_meta
        dataset.file_meta.TransferSyntaxUID = UID(guessed)
    if is_open_ended and not stop_before_pixels and "Rows" in dataset:
        dataset.PixelData = _open_ended_pixels(data)
    return dataset


def _open_ended_pixels(data: bytes) -> bytes:
    """Encapsulated pixel data without the delimiter at their end; raises Unfinished if their last fragment is cut off."""
    start = data.rfind(ENCAPSULATED)
    if start < 0:
        raise Unfinished("the DICOM file has no pixels: it was cut off, or never had any")
    pixels = data[start + len(ENCAPSULATED) - len(ITEM) :]
    at = 0
    while pixels[at : at + 4] == ITEM:
        at += 8 + int.from_bytes(pixels[at + 4 : at + 8], "little")
    if at > len(pixels) or not at:
        raise Unfinished("the DICOM file ends within its pixels: it was cut off")
    return pixels[:at] + DELIMITER


def _check_kind(dataset: Dataset) -> None:
    sop_class = _text(dataset, "SOPClassUID") or ""
    if sop_class.startswith(DOCUMENTS) or "EncapsulatedDocument" in dataset:
        raise Unsuitable("the DICOM file holds a document (such as a PDF), not an image")
    modality = _word(dataset, "Modality")
    if "Rows" not in dataset:
        if modality in MODALITIES:
            raise Unfinished("the DICOM file has no pixels: it is not an image, or was cut off")
        raise Unsuitable(f"the DICOM file is not an image (modality {modality or 'not stated'})")
    if modality not in MODALITIES:
        raise Unsuitable(f"the modality is {modality or 'not stated'}: only CR, DX and RG are screened")
    frames = _number(dataset, "NumberOfFrames") or 1
    if frames != 1:
        raise Unsuitable(f"the DICOM file has {frames} frames: a radiograph is a single image")
    if sop_class == RAW or _word(dataset, "PresentationIntentType") == "FOR PROCESSING":
        raise Unsuitable("the image is the detector's raw data (FOR PROCESSING): send the one FOR PRESENTATION")
    colours, samples = _photometric(dataset), _number(dataset, "SamplesPerPixel") or 1
    if (colours, samples) not in (("MONOCHROME1", 1), ("MONOCHROME2", 1), ("RGB", 3)):
        raise Unsuitable(f"the image is not greyscale (photometric interpretation {colours})")


def _check_view(dataset: Dataset) -> None:
    """A missing body part or view is accepted; one that is stated must be a frontal chest."""
    anatomy.check_chest(_stated(dataset, "BodyPartExamined", "AnatomicRegionSequence"))
    anatomy.check_frontal(stated := _stated(dataset, "ViewPosition", "ViewCodeSequence"))
    rows_run = _word(dataset, "PatientOrientation")[:1]
    if stated == Stated() and rows_run in ("A", "P"):  # anterior, posterior
        raise Unsuitable(f"the view is one whose rows run towards {rows_run}: only frontal views (AP, PA) are screened")


def _stated(dataset: Dataset, words: str, codes: str) -> Stated:
    code = _code(dataset, codes)
    text = _text(dataset, words)
    return Stated(code and code[0], code and code[1], text and _in_its_characters(text, dataset))


def _in_its_characters(text: str, dataset: Dataset) -> str:
    """A code string in the file's character set: DICOM allows it none, so pydicom reads it as Latin-1."""
    encodings = convert_encodings(list(dataset.get("SpecificCharacterSet") or []) or None)
    try:
        return decode_bytes(text.encode("latin-1"), [*encodings, "utf-8"], set())
    except Exception:  # noqa: BLE001 - it stays as it is
        return text


def _check_pixels(dataset: Dataset, limits: Limits) -> None:
    rows, columns = _number(dataset, "Rows") or 0, _number(dataset, "Columns") or 0
    if not rows or not columns:
        raise Unfinished("the DICOM file does not state its image's size: it was cut off, or is damaged")
    check_size(columns, rows, limits)
    syntax = _syntax(dataset)
    if syntax not in SYNTAXES:
        raise _unsupported(syntax)
    pixels = dataset.get("PixelData")
    if pixels is None:
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            raise Unsuitable("floating-point pixel data is not supported")
        raise Unfinished("the DICOM file has no pixels: it was cut off, or never had any")
    if syntax in UNCOMPRESSED:
        if len(pixels) < rows * columns * math.ceil((_number(dataset, "BitsAllocated") or 8) / 8):
            raise Unfinished("the DICOM file ends within its pixels: it was cut off")
    elif syntax in COMPRESSED:
        try:
            size = _codestream_size(next(generate_frames(pixels, number_of_frames=1)))
        except Exception as error:
            raise Unreadable("the DICOM file is damaged: its pixel data hold no image") from error
        if size is not None and size != (columns, rows):
            stated, actual = f"{columns} x {rows}", f"{size[0]} x {size[1]}"
            raise Unreadable(f"the DICOM file is damaged: its header says {stated} pixels, its image has {actual}")


def _codestream_size(frame: bytes) -> tuple[int, int] | None:
    """The (width, height) stated in a JPEG, JPEG-LS or JPEG 2000 stream: what its decoder would allocate."""
    start = frame.find(b"\xff\x4f\xff\x51")  # JPEG 2000, perhaps within a file's boxes
    if start >= 0 and frame[:2] != b"\xff\xd8":
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return right - left, bottom - top
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4])
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = struct.unpack_from(">2H", frame, at + 5)
            return width, height
        at += 1 if marker == 0xFF else 2 + length
    return None


def _render(dataset: Dataset, notes: Notes) -> NDArray[np.uint8]:
    """8-bit grey of a single greyscale frame, cut to the part that is picture."""
    words, stated, overlay_bits = _words(dataset)
    values, repairs = read_values(words, stated, overlay_bits)
    for repair in repairs:
        notes.add(repair)
    picture = extent.picture(values, dataset, notes)
    if picture is not None:
        rows, columns = extent.bounds(picture)
        values, picture = values[rows, columns], picture[rows, columns]
        if picture.all():
            picture = None
    grey = greyscale.render(values, dataset, picture, _photometric(dataset) == "MONOCHROME1", notes)
    return orientation.turn(grey, _letters(dataset, "PatientOrientation"), notes)


def _words(dataset: Dataset) -> tuple[NDArray[Any], Layout, int]:
    """The frame's words, unsigned, shape (rows, columns); which bits of them are said to be values, which overlays."""
    allocated = _number(dataset, "BitsAllocated") or 16
    stored = min(_number(dataset, "BitsStored") or allocated, allocated)
    high = _number(dataset, "HighBit")
    is_signed = _number(dataset, "PixelRepresentation") == 1
    syntax = _syntax(dataset)
    rows, columns = _number(dataset, "Rows") or 0, _number(dataset, "Columns") or 0
    if syntax in UNCOMPRESSED and allocated in (8, 16, 32):
        order = ">" if syntax == EXPLICIT_BIG_ENDIAN else "<"
        samples = _samples(dataset)
        planes = np.frombuffer(dataset.PixelData, f"{order}u{allocated // 8}", samples * rows * columns)
        words = _grey_plane(planes, rows, columns, samples, is_planar=_number(dataset, "PlanarConfiguration") == 1)
        shift = high + 1 - stored if high is not None and stored <= high + 1 <= allocated else 0
    else:
        _fill_in(dataset)
        pixels = pixel_array(dataset, index=0, raw=True)
        if pixels.ndim == 3:
            pixels = _grey_plane(pixels, *pixels.shape, is_planar=False)
        words, shift = pixels.view(f"u{pixels.dtype.itemsize}"), 0
        stored = min(stored, 8 * pixels.dtype.itemsize)
    overlays = 0
    for group in range(0x6000, 0x6020, 2):
        position = dataset.get((group, 0x0102))
        if position is not None and (bit := int(position.value or 0)):
            overlays |= 1 << bit
    return words, Layout(stored, shift, is_signed), overlays


def _letters(dataset: Dataset, name: str) -> tuple[str, ...]:
    """The first letter of each value of an element, in capitals."""
    try:
        return tuple(str(value).strip().upper()[:1] for value in dataset.get(name) or ())
    except Exception:  # noqa: BLE001 - a damaged element counts as missing
        return ()


def _age(dataset: Dataset) -> float | None:
    """The patient's age in years, as stated, else from the dates of birth and study."""
    if found := re.fullmatch(r"(\d{1,4})([DWMY])", (_text(dataset, "PatientAge") or "").upper()):
        return int(found[1]) * YEARS[found[2]]
    born, studied = (_date(_text(dataset, name)) for name in ("PatientBirthDate", "StudyDate"))
    return (studied - born).days / 365.25 if born and studied and studied >= born else None


def _date(text: str | None) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if text else None
    except ValueError:
        return None


def _samples(dataset: Dataset) -> int:
    return _number(dataset, "SamplesPerPixel") or 1


def _fill_in(dataset: Dataset) -> None:
    """Elements that pydicom's decoders want, where they are missing and can have one value alone."""
    allocated = _number(dataset, "BitsAllocated") or 16
    high = _number(dataset, "HighBit")
    defaults = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": _photometric(dataset),
        "PixelRepresentation": 0,
        "BitsAllocated": allocated,
        "BitsStored": allocated if high is None else min(high + 1, allocated),
    }
    for name, value in defaults.items():
        if dataset.get(name) is None:
            setattr(dataset, name, value)


def _grey_plane(words: NDArray[Any], rows: int, columns: int, samples: int, *, is_planar: bool) -> NDArray[Any]:
    """One channel of a grey image, also of one that is stored as red, green and blue; raises Unsuitable for colour."""
    if samples == 1:
        return words.reshape(rows, columns)
    planes = (
        words.reshape(samples, rows, columns) if is_planar else np.moveaxis(words.reshape(rows, columns, samples), 2, 0)
    )
    if not (planes == planes[0]).all():
        raise Unsuitable("the image is in colour: only greyscale radiographs are screened")
    return planes[0]


def _photometric(dataset: Dataset) -> str:
    """MONOCHROME2 where nothing is stated: by far the most frequent."""
    return _word(dataset, "PhotometricInterpretation") or "MONOCHROME2"


def _text(dataset: Dataset, name: str) -> str | None:
    """A value as text, None if it is missing, empty or unreadable; of several the first."""
    try:
        value = dataset.get(name)
        value = value if value is None or isinstance(value, str) else (list(value) or [None])[0]
    except Exception:  # noqa: BLE001 - a damaged element is a missing one
        return None
    if not isinstance(value, str):  # of a sequence, damaged or not, `str` would tell all that is in it
        return None
    return value.replace("\0", "").strip() or None


def _word(dataset: Dataset, name: str) -> str:
    """A code string in capitals, cut to the length that DICOM allows, since reasons repeat it; empty if missing."""
    return re.sub(r"[^A-Z0-9 _-]", "?", (_text(dataset, name) or "").upper())[:16]


def _number(dataset: Dataset, name: str) -> int | None:
    try:
        return int(dataset.get(name))
    except Exception:  # noqa: BLE001 - a damaged element is a missing one
        return None


def _code(dataset: Dataset, name: str) -> tuple[str, str] | None:
    """(code, meaning) of a code sequence's first item."""
    try:
        item = dataset.get(name)[0]
    except Exception:  # noqa: BLE001 - a damaged element is a missing one
        return None
    meaning = re.sub(r"[^A-Za-z -]", "?", _text(item, "CodeMeaning") or "")[:32]
    return _text(item, "CodeValue") or "", meaning or "not said"


def _syntax(dataset: Dataset) -> UID:
    return UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))


def _unsupported(syntax: UID) -> Unreadable:
    known = syntax.name if syntax.is_valid else "whose number is damaged"  # the text may be about the patient
    name = known if syntax else "not said"
    return Unreadable(f"the transfer syntax {name} is not read: have the PACS send it uncompressed or as JPEG 2000")
