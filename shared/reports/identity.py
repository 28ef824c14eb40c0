"""Whose image it is: copied from the file when a report is sent, byte for byte, since SQL does not hold it."""

from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from shared.base.errors import ImageError, Rejected
from shared.imaging.dicom_file import parse, text_of

COPIED = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "EthnicGroup",
    "PatientComments",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Of the patient and the study. Sequences are not: nothing of theirs is needed to find the study."""
REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
"""Present in every object, empty where nothing is known (type 2)."""
MAX_BYTES = 10_240
"""No element of these is longer in a file that is sound."""


@dataclass(frozen=True)
class Original:
    """The image that a report is about, and the elements that say whose it is."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    laterality: str | None
    elements: tuple[RawDataElement, ...]

    def sign(self, dataset: Dataset) -> None:
        """Put the identity into an object in the place of what it has: same bytes, in the same character set."""
        for name in COPIED:
            if name in dataset:
                del dataset[name]
        for element in self.elements:
            dataset[element.tag] = element
        for name in REQUIRED:
            if name not in dataset:
                setattr(dataset, name, "")


def read_original(data: bytes, sop_instance_uid: str | None) -> Original:
    """Raises Rejected if the file is no DICOM image, or another one than the result is of."""
    try:
        dataset = parse(data, stop_before_pixels=True)
    except ImageError as error:
        raise Rejected(f"the patient's identity cannot be read from the file: {error}") from error
    uids = {
        name: text_of(dataset, name)
        for name in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    }
    missing = [name for name in uids if not uids[name]]
    if missing:
        raise Rejected(f"the file has no {' and no '.join(missing)}, to which a report could refer")
    if sop_instance_uid is not None and uids["SOPInstanceUID"] != sop_instance_uid:
        raise Rejected("the file is another image than the result is of")
    return Original(
        sop_class_uid=str(uids["SOPClassUID"]),
        sop_instance_uid=str(uids["SOPInstanceUID"]),
        series_instance_uid=str(uids["SeriesInstanceUID"]),
        study_instance_uid=str(uids["StudyInstanceUID"]),
        laterality=text_of(dataset, "ImageLaterality") or text_of(dataset, "Laterality"),
        elements=tuple(_raw(dataset, name) for name in COPIED if name in dataset),
    )


def _raw(dataset: Dataset, name: str) -> RawDataElement:
    """The element as bytes. What was read already is encoded again, in the file's own character set."""
    tag = Tag(tag_for_keyword(name))  # type: ignore[arg-type]
    element = dataset.get_item(tag)
    value = element.value if isinstance(element, RawDataElement) else _encoded(dataset, name)
    value = (value or b"")[:MAX_BYTES]
    vr = dictionary_VR(tag)
    padding = b"\0" if vr == "UI" else b" "
    value += padding * (len(value) % 2)
    return RawDataElement(tag, vr, len(value), value, 0, False, True)


def _encoded(dataset: Dataset, name: str) -> bytes:
    value = dataset.get(name)
    text = "\\".join(map(str, value)) if isinstance(value, list | tuple) or hasattr(value, "append") else str(value)
    return text.encode("ascii", "replace")
