"""Specimens as DICOM files, as scanners and PACS would send them."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

EXAMPLE = "example: python -m samples.dicom --out samples"
CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
NOTE = "Computer-generated specimen, not a patient"


@dataclass(frozen=True)
class Kind:
    """How a specimen is stored."""

    source: str
    modality: str
    bits: int
    is_inverted: bool
    age: str


KINDS = {
    "normal-15.dcm": Kind("normal-05.jpeg", "CR", 8, False, "003Y"),
    "normal-16.dcm": Kind("normal-11.jpeg", "DX", 12, True, "004Y"),
    "pneumonia-15.dcm": Kind("pneumonia-03.jpeg", "CR", 8, False, "002Y"),
    "pneumonia-16.dcm": Kind("pneumonia-09.jpeg", "DX", 12, True, "061Y"),  # outside the bundled model's population
}


def main() -> None:
    """Read the command line and write each file."""
    about = "Write some of the specimens again as DICOM files."
    parser = argparse.ArgumentParser("python -m samples.dicom", description=about, epilog=EXAMPLE)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the specimens, in which the files go")
    folder = parser.parse_args().out
    for name, kind in KINDS.items():
        make(folder / kind.source, kind, name).save_as(folder / name, enforce_file_format=True)


def make(source: Path, kind: Kind, name: str) -> FileDataset:
    """A CR file holds plain 8-bit pixels, a DX file 12 bits with white as 0, a window, and JPEG 2000 compression."""
    pixels: Any = np.asarray(Image.open(source).convert("L"))
    if kind.bits == 12:
        pixels = pixels.astype(np.uint16) * 8 + 1000
    if kind.is_inverted:
        pixels = (pixels.max() + pixels.min() - pixels).astype(pixels.dtype)
    dataset = dataset_of(pixels, kind, name)
    if kind.modality == "DX":
        dataset.WindowCenter, dataset.WindowWidth = 2020, 2040
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    return dataset


def dataset_of(pixels: NDArray[Any], kind: Kind, name: str) -> FileDataset:
    """An uncompressed file of pixels of shape (rows, columns), uint8 or uint16, of `kind.bits` bits."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CR if kind.modality == "CR" else DX
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[NOTE, name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(name, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[NOTE, name, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[NOTE, name, "series"])
    dataset.StudyDate, dataset.AccessionNumber = "20260101", f"SP-{name[:-4].upper()}"
    dataset.PatientName, dataset.PatientID, dataset.PatientAge = "Specimen^Generated", f"SPECIMEN-{name}", kind.age
    dataset.ImageComments = NOTE
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = kind.modality, "CHEST", "AP"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME1" if kind.is_inverted else "MONOCHROME2"
    dataset.BitsAllocated = 8 if kind.bits == 8 else 16
    dataset.BitsStored, dataset.HighBit = kind.bits, kind.bits - 1
    if kind.modality == "DX":
        dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if kind.bits == 8 else "OW"
    return dataset


def compressed(data: bytes, syntax: str, folder: Path) -> bytes:
    """An uncompressed DICOM file in another transfer syntax, written by GDCM, for which `folder` takes files."""
    import gdcm

    plain, packed = folder / "plain.dcm", folder / "packed.dcm"
    plain.write_bytes(data)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change(), f"GDCM does not write {syntax}"
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return packed.read_bytes()


if __name__ == "__main__":
    main()
