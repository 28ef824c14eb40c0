"""DICOM files made of computer-generated pictures, as scanners and PACS write them, for tests."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from samples import dicom as specimens

DX = "1.2.840.10008.5.1.4.1.1.1.1"
CR = "1.2.840.10008.5.1.4.1.1.1"
PATIENT = "PID-4711-GEHEIM"
NAME = "Mustermann^Erika"


def make(pixels: NDArray[Any], **elements: Any) -> Dataset:
    """A DX image of a chest, 16 bits allocated, 12 stored; `elements` replace or add, None removes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DX
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    depth = 8 if pixels.dtype == np.uint8 else 12
    values: dict[str, Any] = {
        "SOPClassUID": DX,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": generate_uid(),
        "AccessionNumber": "A-2026-0042",
        "PatientID": PATIENT,
        "PatientName": NAME,
        "PatientBirthDate": "20220501",
        "StudyDate": "20260504",
        "PatientSex": "F",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "AP",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8 if depth == 8 else 16,
        "BitsStored": depth,
        "HighBit": depth - 1,
        "PixelRepresentation": 0,
        **elements,
    }
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if depth == 8 else "OW"
    return dataset


def written(dataset: Dataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def drop(dataset: Dataset, *names: str) -> Dataset:
    """Without some elements."""
    for name in names:
        delattr(dataset, name)
    return dataset


def compressed(dataset: Dataset, syntax: str, folder: Path) -> bytes:
    """The file in another transfer syntax, written by GDCM."""
    return specimens.compressed(written(dataset), syntax, folder)


def encapsulated(dataset: Dataset, frame: bytes, syntax: str) -> bytes:
    """A file whose pixel data hold a stream that was compressed elsewhere."""
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    return written(dataset)
