"""A received object becomes a file: written aside, synced, and given its name, which no other content ever takes."""

import errno
import fcntl
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from node.file_meta import FileMeta
from node.naming import path_of, path_of_other
from shared.base.errors import DiskLow, OutOfReach
from shared.base.filesystem import MARKER, sync
from shared.base.found import Found
from shared.sources.dicom import DicomSource
from shared.sources.folder.facts import Facts
from shared.sources.folder.marker import why_away

ASIDE = ".incoming"
"""The folder in the source in which files are written; its name begins with a dot, so nothing in it is an image."""
OLD_SECONDS = 3600.0
"""A file in it that is older was left by a process that was killed: each is written without long pauses."""
PIECE = 1 << 20
TRIES = 5
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What a file system without hard links answers, as some shares are."""


@dataclass(frozen=True)
class Stored:
    """`is_new` is False for an object that was there already; `is_other` is True for a second content of its UID."""

    found: Found
    is_new: bool
    is_other: bool


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """To itself among the processes of this host, where the file system has locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Store:
    """The folder of one source."""

    def __init__(self, source: DicomSource, min_free: int) -> None:
        self._source, self._min_free = source, min_free
        self._renaming = threading.Lock()

    def check(self) -> None:
        """Raises OutOfReach if the folder cannot be seen, DiskLow if its disk has too little room."""
        root = self._source.root
        if why := why_away(root, self._source.marker):
            raise OutOfReach(f"the folder {root} is out of reach: {why}")
        try:
            free = shutil.disk_usage(root).free
        except OSError as error:
            raise OutOfReach(f"the folder {root} is out of reach: {error.strerror or error}") from error
        if free < self._min_free:
            raise DiskLow(
                f"the disk of {root} has less than {self._min_free / 1e9:.2f} GB left (min_free_disk): "
                "nothing more is received until there is room"
            )

    def mark(self, *, is_known: bool) -> None:
        """Write the marker into a folder that has none: not into one that is known and empty, as a mount point is."""
        root = self._source.root
        if not (root / MARKER).exists() and (not is_known or any(root.iterdir())):
            (root / MARKER).touch()

    def store(self, meta: FileMeta, body: memoryview) -> Stored:
        """Returns once the file and its name are on the disk. Raises what `check` raises, and OSError."""
        self.check()
        first = path_of(meta.sop_instance)
        if self._holds(first, meta, body):
            return Stored(self._found(first), is_new=False, is_other=False)
        other = path_of_other(meta.sop_instance, body)
        aside = self._write_aside(meta, body)
        try:
            if self._name(aside, first):
                return Stored(self._found(first), is_new=True, is_other=False)
            if self._holds(first, meta, body):  # another association was faster with the same object
                return Stored(self._found(first), is_new=False, is_other=False)
            is_new = self._name(aside, other)
            return Stored(self._found(other), is_new=is_new, is_other=True)
        finally:
            aside.unlink(missing_ok=True)

    def remove_leftovers(self) -> int:
        """Remove what killed nodes left aside; returns how many files those were."""
        count = 0
        with suppress(FileNotFoundError):
            for file in (self._source.root / ASIDE).iterdir():
                with suppress(FileNotFoundError):
                    if time.time() - file.stat().st_mtime > OLD_SECONDS:
                        file.unlink()
                        count += 1
        return count

    def _found(self, path: str) -> Found:
        return Facts.of((self._source.root / path).stat()).found(path)

    def _holds(self, path: str, meta: FileMeta, body: memoryview) -> bool:
        """Whether the file at a path is this object: the sender may be another one, and the first file stays."""
        try:
            with (self._source.root / path).open("rb") as file:
                try:
                    theirs, start = FileMeta.decode(file)
                except ValueError:
                    return False
                is_alike = theirs.syntax == meta.syntax and os.fstat(file.fileno()).st_size - start == len(body)
                if not is_alike:
                    return False
                file.seek(start)
                at = 0
                while piece := file.read(PIECE):
                    if piece != body[at : at + len(piece)]:
                        return False
                    at += len(piece)
                return at == len(body)
        except FileNotFoundError:
            return False

    def new_aside(self) -> Path:
        """Where a file can be written that is not an image yet; whoever makes one removes it."""
        folder = self._source.root / ASIDE
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{uuid.uuid4().hex}.part"

    def _write_aside(self, meta: FileMeta, body: memoryview) -> Path:
        aside = self.new_aside()
        try:
            with aside.open("xb", buffering=0) as file:
                for part in (meta.encode(), body):
                    left = memoryview(part)
                    while left:
                        left = left[file.write(left) :]
                os.fsync(file.fileno())
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        return aside

    def _name(self, aside: Path, path: str) -> bool:
        """Give a written file its name, durably; False if the name is taken. A link, since a rename would replace."""
        place = self._source.root / path
        for _ in range(TRIES):
            is_made = self._make(place.parent)
            try:
                os.link(aside, place)
            except FileExistsError:
                return False
            except FileNotFoundError:  # the folder was empty, and removed with the last file in it
                if not aside.exists():
                    raise
                continue
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                if not self._rename(aside, place):
                    return False
            aside.unlink(missing_ok=True)  # before anybody takes the file's facts: it changes them
            sync(place.parent)
            if is_made:
                sync(self._source.root)
            return True
        raise OutOfReach(f"the folder {place.parent} goes as soon as it is made")

    def _rename(self, aside: Path, place: Path) -> bool:
        """Where the file system knows no links: one at a time, since a rename replaces what is there."""
        with self._renaming, _locked(aside.parent):  # the web service stores, too
            if place.exists():
                return False
            aside.rename(place)
            return True

    @staticmethod
    def _make(folder: Path) -> bool:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            return False
        return True
