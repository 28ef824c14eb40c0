"""The parts of one STOW-RS request: each becomes a file aside, and once it is whole, the receiver takes it."""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

from node.file_meta import FileMeta, decode_others
from node.statuses import Status
from shared.imaging.dicom import RADIOGRAPHS
from shared.imaging.dicom_file import SYNTAXES
from web.inlets import Inlet

DICOM = b"application/dicom"
MAX_PARTS = 1000
MAX_BOUNDARY = 200
"""Characters; RFC 2046 allows 70, and Orthanc 1.10 sends 73."""


@dataclass(frozen=True)
class Part:
    """What became of one: the UIDs are empty where it is no DICOM file."""

    sop_class: str
    sop_instance: str
    status: Status


def boundary_of(content_type: str) -> bytes:
    """Raises HTTPException for another kind of body than DICOM files in parts."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/related" or options.get(b"type", DICOM).lower() != DICOM:
        raise HTTPException(415, 'The body must be multipart/related; type="application/dicom".')
    if not 0 < len(options.get(b"boundary", b"")) <= MAX_BOUNDARY:
        raise HTTPException(400, f"The Content-Type has no boundary of 1 to {MAX_BOUNDARY} characters.")
    return options[b"boundary"]


class Parts:
    """For one thread at a time. `study` is the UID of which each object must be, if one is given."""

    def __init__(self, inlet: Inlet, boundary: bytes, max_bytes: int, study: str | None) -> None:
        self._inlet, self._max_bytes, self._study = inlet, max_bytes, study
        self.taken: list[Part] = []
        self._file: BinaryIO | None = None
        self._size = 0
        self._header: dict[str, bytes] = {}
        self._name = self._value = b""
        self._is_over = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_kind,
            "on_part_data": self._add,
            "on_part_end": self._end,
            "on_end": self._note_end,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        """Raises HTTPException for what is no such request, and what `Store.check` raises; OSError for a full disk."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise HTTPException(400, "The body is not multipart/related as its Content-Type says.") from error

    def finish(self) -> list[Part]:
        """Raises HTTPException for a body that is cut off, or holds nothing."""
        if not self._is_over:
            raise HTTPException(400, "The body ends before its last boundary.")
        if not self.taken:
            raise HTTPException(400, "The body has no parts.")
        return self.taken

    def close(self) -> None:
        """Remove what is unfinished."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
            Path(file.name).unlink()

    def _begin(self) -> None:
        if len(self.taken) >= MAX_PARTS:
            raise HTTPException(413, f"A request may hold {MAX_PARTS:,} objects.")
        self._inlet.store.check()
        self._header, self._name, self._value, self._size = {}, b"", b"", 0
        self._file = self._inlet.store.new_aside().open("x+b")

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._header[self._name.decode("latin-1").lower()] = self._value
        self._name = self._value = b""

    def _check_kind(self) -> None:
        kind, _ = parse_options_header(self._header.get("content-type", DICOM).decode("latin-1"))
        if kind != DICOM:
            raise HTTPException(415, "Each part must be application/dicom.")

    def _add(self, data: bytes, start: int, end: int) -> None:
        assert self._file is not None
        self._size += end - start
        if self._size > self._max_bytes:
            raise HTTPException(413, f"An object is larger than {self._max_bytes:,} bytes (max_bytes).")
        self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        assert self._file is not None
        self._file.flush()
        self.taken.append(self._take(self._file))
        self.close()

    def _note_end(self) -> None:
        self._is_over = True

    def _take(self, file: BinaryIO) -> Part:
        """As an object that came by C-STORE, after what negotiation would have refused there."""
        file.seek(0)
        try:
            meta, start = decode_others(file)
        except ValueError:
            return Part("", "", Status.CANNOT_UNDERSTAND)
        part = (meta.sop_class, meta.sop_instance)
        if meta.sop_class not in RADIOGRAPHS:
            return Part(*part, Status.CLASS_NOT_SUPPORTED)
        if meta.syntax not in SYNTAXES:
            return Part(*part, Status.SYNTAX_NOT_SUPPORTED)
        ours = FileMeta(meta.sop_class, meta.sop_instance, meta.syntax)  # who sent it stands in the log
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as whole,
            whole[start:] as body,
        ):
            answer = self._inlet.receiver.take(ours, body, self._study)
        return Part(*part, answer.status)


def is_refused_for_now(parts: list[Part]) -> bool:
    """Whether nothing was stored, and some of it may be if it is sent again."""
    statuses = {part.status for part in parts}
    return Status.SUCCESS not in statuses and Status.OUT_OF_RESOURCES in statuses
