"""What one file says of itself, what was assumed, and what the network is shown of it: without a database."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.base.errors import ImageError, InvalidRequest
from shared.imaging import Limits, Preprocessing, arrange, decode, is_dicom
from shared.imaging.formats import recognise
from shared.imaging.notes import Notes

if TYPE_CHECKING:
    from PIL import Image

FULL = (10_000, 10_000)
HEADER = (
    *("Modality", "BodyPartExamined", "ViewPosition", "PatientOrientation", "PatientAge", "PresentationIntentType"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "ShutterShape", "PresentationLUTShape", "Manufacturer"),
)
"""Elements that say how the picture is to be read; none of them names a patient."""
TABLES = ("ModalityLUTSequence", "VOILUTSequence", "AnatomicRegionSequence", "ViewCodeSequence")
MAX_TEXT = 60


@dataclass(frozen=True)
class Inspection:
    """`reason` says why the file would be quarantined, None if it would be screened; then there are pictures.

    `full` is the decoded picture, 8-bit grey; `seen` the one that the network is shown.
    """

    format: str
    size: int
    stated: tuple[tuple[str, str], ...]
    assumed: tuple[str, ...]
    reason: str | None
    full: "Image.Image | None" = None
    seen: "Image.Image | None" = None


def inspect(file: Path, preprocessing: Preprocessing, limits: Limits) -> Inspection:
    """Raises InvalidRequest if the file cannot be read at all."""
    from PIL import Image

    try:
        data = file.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror or error}") from error
    notes, full, seen, reason, name = Notes(), None, None, None, "not recognised"
    try:
        name = recognise(data).name
        full = decode(data, FULL, limits, notes)
        scaled = decode(data, (preprocessing.width, preprocessing.height), limits)
        seen = Image.fromarray(arrange(scaled, preprocessing)[:, :, 0])
    except ImageError as error:
        reason = str(error)
    return Inspection(name, len(data), _stated(data), tuple(notes.texts), reason, full, seen)


def _stated(data: bytes) -> tuple[tuple[str, str], ...]:
    """What the header of a DICOM file says about its picture."""
    if not is_dicom(data):
        return ()
    from shared.imaging.dicom_file import parse, syntax_of

    try:
        dataset = parse(data, stop_before_pixels=True)
    except ImageError:
        return ()
    found = [("TransferSyntax", syntax_of(dataset).name)]
    found += [(name, _text(dataset, name)) for name in HEADER if name in dataset]
    found += [(name, _table(dataset, name)) for name in TABLES if name in dataset]
    return tuple(found)


def _text(dataset: Any, name: str) -> str:
    try:
        value = dataset.get(name)
        text = str(value) if value is None or isinstance(value, str) else str(value).strip("[]")
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on damaged elements
        return "damaged"
    return text[:MAX_TEXT] or "empty"


def _table(dataset: Any, name: str) -> str:
    try:
        item = dataset.get(name)[0]
        if "LUTDescriptor" in item:
            count, first, bits = item.LUTDescriptor
            return f"{count or 65536} entries from {first} on, of {bits} bits"
        return f"{item.get('CodeMeaning', '')} ({item.get('CodeValue', '')})"[:MAX_TEXT]
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on damaged elements
        return "damaged"
