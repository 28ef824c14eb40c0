"""What a compressed frame says of itself, before it is decoded: its kind and its size."""

import struct
from dataclasses import dataclass, replace

from pydicom.uid import UID, RLELossless

from shared.imaging.dicom_file import HIGH_THROUGHPUT, JPEG, JPEG_2000, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LS

WAVELETS, WAVELETS_FILE = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
SSIZ = 42
"""Where a JPEG 2000 stream states the depth of its first component (ITU T.800 A.5.1)."""
JPEG_LS_FRAME, LOSSLESS_FRAME = 0xF7, 0xC3
RLE_HEADER = 64
KINDS = (JPEG_LOSSLESS, JPEG_LS, (*JPEG_2000, *HIGH_THROUGHPUT))
"""Transfer syntaxes whose streams need not be told apart."""


@dataclass(frozen=True)
class Codestream:
    """The syntax that a stream is in, the (width, height) that its decoder would allocate, and its bits a sample.

    RLE states neither.
    """

    syntax: UID
    size: tuple[int, int] | None = None
    bits: int | None = None


def recognise(frame: bytes, stated: UID) -> Codestream | None:
    """None if it looks like none; `stated` is kept where the stream may be in it."""
    found = _recognise(frame)
    if found is None:
        return None
    is_alike = any(stated in kind and found.syntax in kind for kind in KINDS)
    is_shallow = stated == JPEG_EXTENDED and found.syntax == JPEG  # which may have 8 bits
    return replace(found, syntax=stated) if is_alike or is_shallow else found


def _recognise(frame: bytes) -> Codestream | None:
    start = frame.find(WAVELETS) if frame.startswith((WAVELETS, WAVELETS_FILE)) else -1
    if start >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return Codestream(UID(JPEG_2000[1]), (right - left, bottom - top), (frame[start + SSIZ] & 0x7F) + 1)
    if frame[:2] != b"\xff\xd8":
        count, first = struct.unpack_from("<2I", frame)
        return Codestream(RLELossless) if 1 <= count <= 15 and first == RLE_HEADER else None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4])
        if marker == JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            precision, height, width = struct.unpack_from(">B2H", frame, at + 4)
            by_marker = {JPEG_LS_FRAME: JPEG_LS[1], LOSSLESS_FRAME: JPEG_LOSSLESS[0]}
            syntax = by_marker.get(marker, JPEG if precision == 8 else JPEG_EXTENDED)
            return Codestream(UID(syntax), (width, height), precision)
        at += 1 if marker == 0xFF else 2 + length
    return None
