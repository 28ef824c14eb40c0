"""DICOM: selects frontal chest radiographs, reads what is kept of their headers, and decodes their pixels.

Nothing here logs or repeats what a header says about the patient.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from shared.base.errors import ImageError, OutOfReach, Unfinished, Unreadable, Unsuitable
from shared.base.host_failures import describe_host_failure
from shared.imaging import anatomy, codestream, extent, gdcm_process, greyscale, orientation
from shared.imaging.anatomy import Stated
from shared.imaging.dicom_file import (
    EXPLICIT,
    IMPLICIT,
    ITEM,
    SYNTAXES,
    UNCOMPRESSED,
    bits_allocated,
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
from shared.imaging.frames import read_frame
from shared.imaging.limits import Limits, check_size
from shared.imaging.notes import Notes
from shared.imaging.scaling import average, choose_step
from shared.imaging.stored_values import choose_layout
from shared.imaging.stretching import Mask

MODALITIES = ("CR", "DX", "RG", "DR")
"""DR is no term of DICOM's, and is written for DX."""
RADIOGRAPHS = ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1")
"""The classes of CR and DX images: they tell what a file is that states no modality."""
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
"""In which a grey image may be stored."""
RAW = "1.2.840.10008.5.1.4.1.1.1.1.1"  # digital X-ray for processing
DOCUMENTS = "1.2.840.10008.5.1.4.1.1.104."  # encapsulated PDF, CDA, STL …
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
"""Of one image or its series. Not those of the study, which names all of its views."""
LAYOUT = ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation")
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
    notes = Notes() if notes is None else notes
    dataset = open_dataset(data, limits, notes)
    with pixels_of(dataset):
        return Image.fromarray(_render(dataset, at_least, notes))


def open_dataset(data: bytes, limits: Limits, notes: Notes) -> Dataset:
    """The elements of a frontal chest radiograph whose pixels can be decoded. Raises as `decode`."""
    dataset = parse(data, stop_before_pixels=False, notes=notes)
    try:
        _check_kind(dataset)
        _check_view(dataset, limits)
        _check_pixels(dataset, limits, notes)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise Unreadable("the DICOM file is damaged: an element of its header cannot be read") from error
    return dataset


@contextmanager
def pixels_of(dataset: Dataset) -> Iterator[None]:
    """Whatever decoding raises becomes an error of ours."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        if gdcm_process.NO_PROCESS in str(error):
            raise OutOfReach(gdcm_process.NO_PROCESS) from error
        if problem := describe_host_failure(error):
            raise OutOfReach(problem) from error
        raise Unreadable(f"the image in the DICOM file is damaged: {syntax_of(dataset).name} did not decode") from error


def _check_kind(dataset: Dataset) -> None:
    sop_class = text_of(dataset, "SOPClassUID") or ""
    if sop_class.startswith(DOCUMENTS) or "EncapsulatedDocument" in dataset:
        raise Unsuitable("the DICOM file holds a document (such as a PDF), not an image")
    modality = word_of(dataset, "Modality") or ("DX" if sop_class in RADIOGRAPHS else "")
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
    if (colours, samples) not in (("MONOCHROME1", 1), ("MONOCHROME2", 1), *((each, 3) for each in COLOURS)):
        raise Unsuitable(f"the image is not greyscale (photometric interpretation {colours})")


def _check_view(dataset: Dataset, limits: Limits) -> None:
    """A missing body part or view is accepted; one that is stated must be a frontal chest."""
    descriptions = [in_its_characters(text, dataset) for name in DESCRIPTIONS if (text := text_of(dataset, name))]
    part = _stated(dataset, "BodyPartExamined", "AnatomicRegionSequence")
    view = _stated(dataset, "ViewPosition", "ViewCodeSequence")
    anatomy.check_chest(part, limits.chest_words, descriptions)
    anatomy.check_frontal(view, limits.frontal_words, [part.words or "", part.meaning or "", *descriptions])
    rows_run = word_of(dataset, "PatientOrientation")[:1]
    if view == Stated() and rows_run in ("A", "P"):  # anterior, posterior
        raise Unsuitable(f"the view is one whose rows run towards {rows_run}: only frontal views (AP, PA) are screened")


def _stated(dataset: Dataset, words: str, codes: str) -> Stated:
    code = code_of(dataset, codes)
    text = text_of(dataset, words)
    return Stated(code and code[0], code and code[1], text and in_its_characters(text, dataset))


def _check_pixels(dataset: Dataset, limits: Limits, notes: Notes) -> None:
    rows, columns = number_of(dataset, "Rows") or 0, number_of(dataset, "Columns") or 0
    if not rows or not columns:
        raise Unfinished("the DICOM file does not state its image's size: it was cut off, or is damaged")
    check_size(columns, rows, limits)
    if missing := [name for name in LAYOUT if dataset.get(name) is None]:
        notes.add(f"the header does not state {', '.join(missing)}: taken for what fits the pixels")
    high, stored, allocated = (number_of(dataset, name) for name in ("HighBit", "BitsStored", "BitsAllocated"))
    if high is not None and stored and allocated and not stored <= high + 1 <= allocated:
        notes.add(f"the header says {stored} bits of {allocated}, the highest of them bit {high}, which cannot be")
    stated = syntax_of(dataset)
    if stated not in SYNTAXES:
        raise unsupported(stated)
    pixels = dataset.get("PixelData")
    if pixels is None:
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            raise Unsuitable("floating-point pixel data is not supported")
        raise Unfinished("the DICOM file has no pixels: it was cut off, or never had any")
    is_whole = len(pixels) >= rows * columns * math.ceil(bits_allocated(dataset) / 8)
    if pixels[: len(ITEM)] == ITEM and not (is_whole and stated in UNCOMPRESSED):
        syntax = _check_frame(dataset, stated, notes)
    elif not is_whole:
        raise Unfinished("the DICOM file ends within its pixels: it was cut off")
    else:
        syntax = stated if stated in UNCOMPRESSED else UID(IMPLICIT if dataset.original_encoding[0] else EXPLICIT)
    if syntax != stated:
        notes.add(f"the header says {stated.name}, the pixels are in {syntax.name}")
        dataset.file_meta.TransferSyntaxUID = syntax


def _check_frame(dataset: Dataset, stated: UID, notes: Notes) -> UID:
    """The syntax that a compressed frame is in; where its depth contradicts the header, the header is made right."""
    try:
        stream = codestream.recognise(next(generate_frames(dataset.PixelData, number_of_frames=1)), stated)
    except Exception as error:
        raise Unreadable("the DICOM file is damaged: its pixel data hold no image") from error
    if stream is None:
        return stated
    size = number_of(dataset, "Columns"), number_of(dataset, "Rows")
    if stream.size not in (None, size):
        texts = [f"{width} x {height}" for width, height in (size, stream.size)]
        raise Unreadable(f"the DICOM file is damaged: its header says {texts[0]} pixels, its image has {texts[1]}")
    _take_depth(dataset, stream, notes)
    return stream.syntax


def _take_depth(dataset: Dataset, stream: codestream.Codestream, notes: Notes) -> None:
    """What decoders need: words that hold the stream's samples, and no fewer bits than 8 where it has more."""
    if number_of(dataset, "BitsAllocated") != stream.words:
        dataset.BitsAllocated = stream.words
    bits, stored = stream.bits or stream.words, number_of(dataset, "BitsStored")
    if stored is not None and (stored > stream.words or (stream.bits is not None and stored <= 8 < stream.bits)):
        notes.add(f"the header says {stored} bits, the compressed image has {bits}")
        dataset.BitsStored, dataset.HighBit = bits, bits - 1


@dataclass(frozen=True)
class Values:
    """Stored values of shape (height, width), a mask of what is picture (None: all), and how they are to be shown.

    `scale` is how many pixels of the file make one of these on each axis.
    """

    stored: NDArray[Any]
    picture: Mask | None
    is_inverted: bool
    scale: int


def _render(dataset: Dataset, at_least: tuple[int, int], notes: Notes) -> NDArray[np.uint8]:
    """8-bit grey of a single greyscale frame, cut to the part that is picture, and scaled down to cover `at_least`."""
    values = read_values(dataset, at_least, notes)
    grey = greyscale.render(values.stored, dataset, values.picture, values.is_inverted, notes)
    return orientation.turn(grey, orientation_of(dataset), notes)


def orientation_of(dataset: Dataset) -> tuple[str, ...]:
    return letters_of(dataset, "PatientOrientation")


def read_values(dataset: Dataset, at_least: tuple[int, int], notes: Notes) -> Values:
    """The frame's values, cut to the part that is picture, and scaled down to cover `at_least`."""
    size = number_of(dataset, "Columns") or 0, number_of(dataset, "Rows") or 0
    halvings = int(math.log2(choose_step(size, at_least, WAVELET_OVERSAMPLING)))
    is_whole = not extent.may_be_cut(dataset)  # padding and shutters are found at full size
    if bits_allocated(dataset) != (stated := number_of(dataset, "BitsAllocated")):
        notes.add(f"the header says {stated or 'not how many'} bits a word, the pixels have {bits_allocated(dataset)}")
    frame = read_frame(dataset, max_reduce=halvings if is_whole else 0)
    layout, repairs = choose_layout(frame.words, frame.stated, frame.overlay_bits)
    notes.extend(repairs)
    values = layout.read(frame.words)
    picture = None if is_whole else extent.picture(values, dataset, notes)
    if picture is not None:
        cut = extent.bounds(picture)
        values, picture = values[cut], picture[cut]
        size = values.shape[1], values.shape[0]
    if picture is None or picture.all():
        step = max(1, choose_step(size, at_least) // frame.scale)
        return Values(average(values, step), None, _is_inverted(dataset, notes), step * frame.scale)
    return Values(values, picture, _is_inverted(dataset, notes), frame.scale)


def view_of(dataset: Dataset) -> str | None:
    """As the header states it, for a person to read: AP, PA, or a site's own word."""
    return word_of(dataset, "ViewPosition") or None


def numbers_of(dataset: Dataset, name: str) -> list[float]:
    """The numbers of an element; none if it is missing or one of them is damaged."""
    try:
        numbers = [float(number) for number in dataset.get(name) or ()]
    except Exception:  # noqa: BLE001 - a damaged element is a missing one
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


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


def _is_inverted(dataset: Dataset, notes: Notes) -> bool:
    """Whether low values are white. The Presentation LUT Shape decides, as it does in DCMTK and in dcm4che."""
    is_monochrome1, shape = _photometric(dataset) == "MONOCHROME1", word_of(dataset, "PresentationLUTShape")
    if shape not in ("IDENTITY", "INVERSE"):
        return is_monochrome1
    if is_monochrome1 != (shape == "INVERSE"):
        notes.add(f"the image is {_photometric(dataset)} with a Presentation LUT Shape of {shape}: the shape was taken")
    return shape == "INVERSE"


def _photometric(dataset: Dataset) -> str:
    """MONOCHROME2 where nothing is stated: by far the most frequent."""
    return word_of(dataset, "PhotometricInterpretation") or "MONOCHROME2"
