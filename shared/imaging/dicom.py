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
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, RLELossless

from shared.base.errors import ImageError, OutOfReach, Unfinished, Unreadable, Unsuitable
from shared.imaging import gdcm_process
from shared.imaging.limits import Limits, check_size

JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
COMPRESSED = (
    *("1.2.840.10008.1.2.4.50", JPEG_EXTENDED),  # JPEG baseline, and extended of 8 bits: no permissive decoder reads 12
    *("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"),  # JPEG lossless
    *("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),  # JPEG-LS
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),  # JPEG 2000
    *("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),  # high-throughput JPEG 2000
)
SYNTAXES = (*UNCOMPRESSED, *COMPRESSED, str(RLELossless))
"""Transfer syntaxes that are read. Not the deflated one: pydicom inflates it without a bound."""
MODALITIES = ("CR", "DX")
CHEST = re.compile("CHEST|THORA|TORA[CX]|LUNG")
CHEST_CODES = ("816094009", "51185008", "T-D3000", "39607008", "T-28000")
FRONTAL = re.compile(r"(AP|PA|FRONTAL)\b")
FRONTAL_CODES = ("399348003", "272479007", "399033003", "R-10206", "R-10214", "R-10202")  # AP, PA, frontal; SCT and SRT
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
        return Image.fromarray(_to_8_bit(pixel_array(dataset, index=0), dataset))
    except MemoryError:
        raise
    except Exception as error:
        if gdcm_process.NO_PROCESS in str(error):
            raise OutOfReach(gdcm_process.NO_PROCESS) from error
        raise Unreadable(f"the image in the DICOM file is damaged: {_syntax(dataset).name} did not decode") from error


def _parse(data: bytes, *, stop_before_pixels: bool) -> Dataset:
    try:
        file = BytesIO(data)
        file.seek(132)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != 2)
        syntax = UID(str(meta.get("TransferSyntaxUID", "")))
        is_closed = syntax == DeflatedExplicitVRLittleEndian or syntax.is_private
        dataset = Dataset() if is_closed else dcmread(BytesIO(data), stop_before_pixels=stop_before_pixels)
    except EOFError as error:
        raise Unfinished("the DICOM file ends within its header: it was cut off") from error
    except Exception as error:
        raise Unreadable("the DICOM file is damaged: its header cannot be read") from error
    if is_closed:  # never parsed: dcmread would inflate without a limit, and guess at private syntaxes
        raise _unsupported(syntax)
    return dataset


def _check_kind(dataset: Dataset) -> None:
    sop_class = _text(dataset, "SOPClassUID") or ""
    if sop_class.startswith(DOCUMENTS) or "EncapsulatedDocument" in dataset:
        raise Unsuitable("the DICOM file holds a document (such as a PDF), not an image")
    modality = _word(dataset, "Modality")
    if "Rows" not in dataset:
        if modality in MODALITIES:
            raise Unfinished("the DICOM file has no pixels: it is not an image, or was cut off")
        raise Unsuitable(f"the DICOM file is not an image (modality {modality or 'not said'})")
    if modality not in MODALITIES:
        raise Unsuitable(f"the modality is {modality or 'not said'}: only CR and DX are screened")
    frames = _number(dataset, "NumberOfFrames") or 1
    if frames != 1:
        raise Unsuitable(f"the DICOM file has {frames} frames: a radiograph is a single image")
    if sop_class == RAW or _word(dataset, "PresentationIntentType") == "FOR PROCESSING":
        raise Unsuitable("the image is the detector's raw data (FOR PROCESSING): send the one FOR PRESENTATION")
    colours = _word(dataset, "PhotometricInterpretation") or "not said"
    if colours not in ("MONOCHROME1", "MONOCHROME2") or (_number(dataset, "SamplesPerPixel") or 1) != 1:
        raise Unsuitable(f"the image is not greyscale (photometric interpretation {colours})")


def _check_view(dataset: Dataset) -> None:
    """A missing body part or view is accepted; one that is stated must be a frontal chest."""
    part, code = _word(dataset, "BodyPartExamined"), _code(dataset, "AnatomicRegionSequence")
    is_chest = CHEST.search(part) if part else code is None or code[0] in CHEST_CODES or CHEST.search(code[1].upper())
    if not is_chest:
        raise Unsuitable(f"the body part is {part or (code and code[1])}, not the chest")
    view, code = _word(dataset, "ViewPosition"), _code(dataset, "ViewCodeSequence")
    if view:
        is_frontal = FRONTAL.match(view.replace("_", " ")) is not None
    elif code:
        view, is_frontal = code[1], code[0] in FRONTAL_CODES
    else:
        view = f"one whose rows run towards {_word(dataset, 'PatientOrientation')}"  # A, P: anterior, posterior
        is_frontal = _word(dataset, "PatientOrientation")[:1] not in ("A", "P")
    if not is_frontal:
        raise Unsuitable(f"the view is {view}: only frontal views (AP, PA) are screened")


def _check_pixels(dataset: Dataset, limits: Limits) -> None:
    rows, columns = _number(dataset, "Rows") or 0, _number(dataset, "Columns") or 0
    if not rows or not columns:
        raise Unfinished("the DICOM file does not state its image's size: it was cut off, or is damaged")
    check_size(columns, rows, limits)
    syntax = _syntax(dataset)
    if syntax not in SYNTAXES or (syntax == JPEG_EXTENDED and (_number(dataset, "BitsStored") or 8) > 8):
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


def _to_8_bit(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    """Rescale, window and stretch to 0 to 255. A window that makes no sense is not used."""
    try:
        values = apply_modality_lut(stored, dataset)
        values = apply_voi_lut(values, dataset)
    except Exception:  # noqa: BLE001 - whatever pydicom raises for odd tables and windows
        values = stored
    seen = np.asarray(values, dtype=np.float32)
    padding = _number(dataset, "PixelPaddingValue")
    picture = seen[stored != padding] if padding is not None else seen
    lowest, highest = (float(picture.min()), float(picture.max())) if picture.size else (0.0, 0.0)
    scale = 255.0 / (highest - lowest) if highest > lowest else 0.0
    grey = (np.clip(seen, lowest, highest) - lowest) * scale
    if _word(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        grey = 255.0 - grey
    return np.asarray(grey.round(), dtype=np.uint8)


def _age(dataset: Dataset) -> float | None:
    """The patient's age in years, as stated, else from the dates of birth and study."""
    if found := re.fullmatch(r"(\d{1,3})([DWMY])", _text(dataset, "PatientAge") or ""):
        return int(found[1]) * YEARS[found[2]]
    born, studied = (_date(_text(dataset, name)) for name in ("PatientBirthDate", "StudyDate"))
    return (studied - born).days / 365.25 if born and studied and studied >= born else None


def _date(text: str | None) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if text else None
    except ValueError:
        return None


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
    """A code string in capitals, and cut to the length that DICOM allows, since reasons repeat it; empty if missing."""
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
