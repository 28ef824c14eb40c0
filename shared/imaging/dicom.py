"""DICOM: selects frontal chest radiographs, reads what is kept of their headers, and decodes their pixels.

Nothing here logs or repeats what a header says about the patient.
"""

import math
import re
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from shared.base.errors import ImageError, OutOfReach, Unfinished, Unreadable, Unsuitable
from shared.imaging import anatomy, extent, gdcm_process, greyscale, orientation
from shared.imaging.anatomy import Stated
from shared.imaging.dicom_file import (
    COMPRESSED,
    SYNTAXES,
    UNCOMPRESSED,
    code_of,
    in_its_characters,
    letters_of,
    number_of,
    parse,
    syntax_of,
    text_of,
    unsupported,
    word_of,
)
from shared.imaging.frames import codestream_size, first_frame, read_frame
from shared.imaging.limits import Limits, check_size
from shared.imaging.notes import Notes
from shared.imaging.scaling import average, choose_step
from shared.imaging.stored_values import choose_layout

MODALITIES = ("CR", "DX", "RG")
RAW = "1.2.840.10008.5.1.4.1.1.1.1.1"  # digital X-ray for processing
DOCUMENTS = "1.2.840.10008.5.1.4.1.1.104."  # encapsulated PDF, CDA, STL …
WAVELET_OVERSAMPLING = 3
"""The small sizes within a JPEG 2000 stream are less like averages than averages are: more pixels are left."""
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


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
    dataset = parse(data, stop_before_pixels=True)
    patient = text_of(dataset, "PatientID")
    return Header(
        study_uid=text_of(dataset, "StudyInstanceUID"),
        sop_instance_uid=text_of(dataset, "SOPInstanceUID"),
        accession_number=text_of(dataset, "AccessionNumber"),
        patient=f"{text_of(dataset, 'IssuerOfPatientID') or ''}|{patient}" if patient else None,
        age_years=_age(dataset),
    )


def decode(data: bytes, at_least: tuple[int, int], limits: Limits, notes: Notes | None = None) -> Image.Image:
    """Decode a frontal chest radiograph to 8-bit grey, air being black: rescaled and windowed as its header says.

    It is scaled down while it still covers twice `at_least` (width, height). What was assumed goes into `notes`.

    Raises Unreadable with the reason for any other file, Unfinished for one that ends too early.
    """
    dataset = parse(data, stop_before_pixels=False)
    try:
        _check_kind(dataset)
        _check_view(dataset, limits)
        encoded = _check_pixels(dataset, limits)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise Unreadable("the DICOM file is damaged: an element of its header cannot be read") from error
    try:
        return Image.fromarray(_render(dataset, encoded, at_least, notes or Notes()))
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        if gdcm_process.NO_PROCESS in str(error):
            raise OutOfReach(gdcm_process.NO_PROCESS) from error
        raise Unreadable(f"the image in the DICOM file is damaged: {syntax_of(dataset).name} did not decode") from error


def _check_kind(dataset: Dataset) -> None:
    sop_class = text_of(dataset, "SOPClassUID") or ""
    if sop_class.startswith(DOCUMENTS) or "EncapsulatedDocument" in dataset:
        raise Unsuitable("the DICOM file holds a document (such as a PDF), not an image")
    modality = word_of(dataset, "Modality")
    if "Rows" not in dataset:
        if modality in MODALITIES:
            raise Unfinished("the DICOM file has no pixels: it is not an image, or was cut off")
        raise Unsuitable(f"the DICOM file is not an image (modality {modality or 'not stated'})")
    if modality not in MODALITIES:
        raise Unsuitable(f"the modality is {modality or 'not stated'}: only CR, DX and RG are screened")
    frames = number_of(dataset, "NumberOfFrames") or 1
    if frames != 1:
        raise Unsuitable(f"the DICOM file has {frames} frames: a radiograph is a single image")
    if sop_class == RAW or word_of(dataset, "PresentationIntentType") == "FOR PROCESSING":
        raise Unsuitable("the image is the detector's raw data (FOR PROCESSING): send the one FOR PRESENTATION")
    colours, samples = _photometric(dataset), number_of(dataset, "SamplesPerPixel") or 1
    if (colours, samples) not in (("MONOCHROME1", 1), ("MONOCHROME2", 1), ("RGB", 3)):
        raise Unsuitable(f"the image is not greyscale (photometric interpretation {colours})")


def _check_view(dataset: Dataset, limits: Limits) -> None:
    """A missing body part or view is accepted; one that is stated must be a frontal chest."""
    anatomy.check_chest(_stated(dataset, "BodyPartExamined", "AnatomicRegionSequence"), limits.chest_words)
    anatomy.check_frontal(stated := _stated(dataset, "ViewPosition", "ViewCodeSequence"), limits.frontal_words)
    rows_run = word_of(dataset, "PatientOrientation")[:1]
    if stated == Stated() and rows_run in ("A", "P"):  # anterior, posterior
        raise Unsuitable(f"the view is one whose rows run towards {rows_run}: only frontal views (AP, PA) are screened")


def _stated(dataset: Dataset, words: str, codes: str) -> Stated:
    code = code_of(dataset, codes)
    text = text_of(dataset, words)
    return Stated(code and code[0], code and code[1], text and in_its_characters(text, dataset))


def _check_pixels(dataset: Dataset, limits: Limits) -> bytes | None:
    """Returns the frame as it is encoded, if it had to be taken from the file."""
    rows, columns = number_of(dataset, "Rows") or 0, number_of(dataset, "Columns") or 0
    if not rows or not columns:
        raise Unfinished("the DICOM file does not state its image's size: it was cut off, or is damaged")
    check_size(columns, rows, limits)
    syntax = syntax_of(dataset)
    if syntax not in SYNTAXES:
        raise unsupported(syntax)
    pixels = dataset.get("PixelData")
    if pixels is None:
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            raise Unsuitable("floating-point pixel data is not supported")
        raise Unfinished("the DICOM file has no pixels: it was cut off, or never had any")
    if syntax in UNCOMPRESSED:
        if len(pixels) < rows * columns * math.ceil((number_of(dataset, "BitsAllocated") or 8) / 8):
            raise Unfinished("the DICOM file ends within its pixels: it was cut off")
    elif syntax in COMPRESSED:
        try:
            frame = first_frame(dataset)
            size = codestream_size(frame)
        except Exception as error:
            raise Unreadable("the DICOM file is damaged: its pixel data hold no image") from error
        if size is not None and size != (columns, rows):
            stated, actual = f"{columns} x {rows}", f"{size[0]} x {size[1]}"
            raise Unreadable(f"the DICOM file is damaged: its header says {stated} pixels, its image has {actual}")
        return frame
    return None


def _render(dataset: Dataset, encoded: bytes | None, at_least: tuple[int, int], notes: Notes) -> NDArray[np.uint8]:
    """8-bit grey of a single greyscale frame, cut to the part that is picture, and scaled down to cover `at_least`."""
    size = number_of(dataset, "Columns") or 0, number_of(dataset, "Rows") or 0
    halvings = int(math.log2(choose_step(size, at_least, WAVELET_OVERSAMPLING)))
    is_whole = not extent.may_be_cut(dataset)  # padding and shutters are found at full size
    frame = read_frame(dataset, max_reduce=halvings if is_whole else 0, encoded=encoded)
    layout, repairs = choose_layout(frame.words, frame.stated, frame.overlay_bits)
    notes.extend(repairs)
    values = layout.read(frame.words)
    picture = None if is_whole else extent.picture(values, dataset, notes)
    if picture is not None:
        cut = extent.bounds(picture)
        values, picture = values[cut], picture[cut]
        size = values.shape[1], values.shape[0]
    if picture is None or picture.all():
        values, picture = average(values, max(1, choose_step(size, at_least) // frame.scale)), None
    grey = greyscale.render(values, dataset, picture, _photometric(dataset) == "MONOCHROME1", notes)
    return orientation.turn(grey, letters_of(dataset, "PatientOrientation"), notes)


def _age(dataset: Dataset) -> float | None:
    """The patient's age in years, as stated, else from the dates of birth and study."""
    if found := re.fullmatch(r"(\d{1,4})([DWMY])", (text_of(dataset, "PatientAge") or "").upper()):
        return int(found[1]) * YEARS[found[2]]
    born, studied = (_date(text_of(dataset, name)) for name in ("PatientBirthDate", "StudyDate"))
    return (studied - born).days / 365.25 if born and studied and studied >= born else None


def _date(text: str | None) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if text else None
    except ValueError:
        return None


def _photometric(dataset: Dataset) -> str:
    """MONOCHROME2 where nothing is stated: by far the most frequent."""
    return word_of(dataset, "PhotometricInterpretation") or "MONOCHROME2"
