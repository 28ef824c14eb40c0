"""What a node must know of a data set before it takes it: read from its head, without its pixels."""

import zlib
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from shared.imaging.dicom_file import DEFLATED, EXPLICIT_BIG_ENDIAN, IMPLICIT, text_of, word_of

HEAD = 262_144
"""Bytes that are looked at, deflated and inflated: what is wanted stands far before them."""
LAST = 0x00401003
"""The last element that is wanted."""
PRIORITIES = ("StudyPriorityID", "RequestedProcedurePriority")


@dataclass(frozen=True)
class Head:
    """`priorities` in capitals. What cannot be read is empty: the worker says what is wrong with the file."""

    sop_class: str = ""
    sop_instance: str = ""
    study: str = ""
    priorities: tuple[str, ...] = ()


def read(body: memoryview, syntax: str) -> Head:
    """Read the head of a data set in a transfer syntax; never raises."""
    try:
        elements = _head(body, syntax)
        dataset = read_dataset(
            BytesIO(elements),
            is_implicit_VR=syntax == IMPLICIT,
            is_little_endian=syntax != EXPLICIT_BIG_ENDIAN,
            stop_when=lambda tag, *_: tag > LAST,
        )
        return _of(dataset)
    except Exception:  # noqa: BLE001 - a damaged object is taken as well, and quarantined with its reason
        return Head()


def _head(body: memoryview, syntax: str) -> bytes:
    head = bytes(body[:HEAD])
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, HEAD) if syntax == DEFLATED else head


def _of(dataset: Dataset) -> Head:
    priorities = tuple(word for name in PRIORITIES if (word := word_of(dataset, name)))
    sop_class, instance, study = (
        text_of(dataset, name) or "" for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
    )
    return Head(sop_class, instance, study, priorities)
