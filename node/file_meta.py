"""What stands before a data set in a file: preamble and file meta information (PS3.10 7.1)."""

import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Self

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from node.implementation import CLASS_UID, VERSION_NAME

PREAMBLE = b"\0" * 128 + b"DICM"
MAX_META = 65_536
"""Bytes of a file's meta information that are looked at: ours has some four hundred."""


@dataclass(frozen=True)
class FileMeta:
    """What is known of an object besides its data set."""

    sop_class: str
    sop_instance: str
    syntax: str
    calling_title: str = ""

    def encode(self) -> bytes:
        """Preamble and file meta information; the same for the same values, so that a file can be made again."""
        meta = FileMetaDataset()
        meta.FileMetaInformationVersion = b"\0\1"
        meta.MediaStorageSOPClassUID = UID(self.sop_class)
        meta.MediaStorageSOPInstanceUID = UID(self.sop_instance)
        meta.TransferSyntaxUID = UID(self.syntax)
        meta.ImplementationClassUID = UID(CLASS_UID)
        meta.ImplementationVersionName = VERSION_NAME
        if self.calling_title:
            meta.SourceApplicationEntityTitle = self.calling_title
        file = DicomBytesIO()
        write_file_meta_info(file, meta)
        return PREAMBLE + file.getvalue()

    @classmethod
    def decode(cls, file: BinaryIO) -> tuple[Self, int]:
        """What a file of ours says, and where its data set begins. Raises ValueError for another file."""
        head = file.read(MAX_META)
        if not head.startswith(PREAMBLE) or head[132:140] != b"\2\0\0\0UL\4\0":
            raise ValueError("no file of a node")
        start = 144 + int(struct.unpack_from("<I", head, 140)[0])
        elements = BytesIO(head[132:start])
        meta = read_dataset(elements, is_implicit_VR=False, is_little_endian=True)
        names = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
        values = [str(meta.get(name, "")) for name in (*names, "SourceApplicationEntityTitle")]
        return cls(*values), start


def decode_others(file: BinaryIO) -> tuple[FileMeta, int]:
    """As `decode`, of a file that another program wrote: whatever stands in its preamble. Raises ValueError."""
    head = file.read(MAX_META)
    try:
        return FileMeta.decode(BytesIO(PREAMBLE[:128] + head[128:]))
    except Exception as error:
        raise ValueError("no DICOM file, or one without a group length") from error


def read(file: Path) -> FileMeta | None:
    """What a file of a node says of itself; None if it is none. Raises OSError."""
    with file.open("rb") as opened:
        try:
            return FileMeta.decode(opened)[0]
        except Exception:  # noqa: BLE001 - damaged, or put there by somebody else
            return None
