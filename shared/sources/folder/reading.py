"""Reads a file once, from inside its folder, and classifies what fails: the file's fault, or the environment's."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from shared.base.errors import Changed, OutOfReach, Removed, Unsuitable
from shared.base.filesystem import MARKER, open_within
from shared.sources.folder.facts import Facts
from shared.sources.folder.marker import why_away

Data = TypeVar("Data", bytes, memoryview)
Take: TypeAlias = Callable[[int, int], Data]
"""Given a file's descriptor and its size, returns its bytes, up to its end."""


class SizeLimit(Protocol):
    """The part of `shared.imaging.Limits` that is needed here, where no decoder is imported."""

    @property
    def bytes(self) -> int: ...


def read(root: Path, path: str, revision: str, limits: SizeLimit, marker: str = MARKER) -> bytes:
    """The bytes of a file that is still at the registered revision.

    Raises Changed if it is not, Removed if it is gone, Unreadable for another permanent failure, OutOfReach for a
    transient one.
    """
    return read_by(_read_all, root, path, revision, limits, marker)


def read_by(take: "Take[Data]", root: Path, path: str, revision: str, limits: SizeLimit, marker: str = MARKER) -> Data:
    """As `read`, with another way to take the bytes out of the open file."""
    try:
        return _read(take, root, path, revision, limits)
    except (FileNotFoundError, NotADirectoryError) as error:
        # Missing twice, each time before a look at the marker: a share that goes away takes its marker along.
        _check_marker(root, marker, error)
        if not _is_missing(root / path):
            raise OutOfReach(f"the folder {root} was out of reach a moment ago") from error
        _check_marker(root, marker, error)
        raise Removed from error
    except PermissionError as error:
        raise OutOfReach("the file cannot be opened: no permission to read it") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise Unsuitable("this is not a regular file: a socket, or a link that leads to itself") from error
        raise OutOfReach(f"the file cannot be read: {error.strerror or error}") from error


def _check_marker(root: Path, marker: str, error: OSError) -> None:
    if why := why_away(root, marker):
        raise OutOfReach(f"the folder {root} is out of reach: {why}") from error


def _is_missing(file: Path) -> bool:
    """Whether its folder says so: any other error says nothing of the file."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _read_all(descriptor: int, _size: int) -> bytes:
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        return file.readall()


def _read(take: "Take[Data]", root: Path, path: str, revision: str, limits: SizeLimit) -> Data:
    descriptor = _open(root, path)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise Unsuitable("this is not a regular file")
        if Facts.of(before).revision != revision:
            raise _changed(before)
        if before.st_size > limits.bytes:
            raise Unsuitable(f"{before.st_size:,} bytes are more than the limit of {limits.bytes:,} (max_bytes)")
        data = take(descriptor, before.st_size)
        after = os.fstat(descriptor)
        # Within one read all that this host sees must stay, or a file that is written meanwhile would go unnoticed.
        if _state(after) != _state(before) or len(data) != after.st_size:
            raise _changed(after)
    finally:
        os.close(descriptor)
    return data


def _changed(stat_now: os.stat_result) -> Changed:
    facts = Facts.of(stat_now)
    return Changed(facts.revision, facts.size, facts.hint)


def _state(stat_now: os.stat_result) -> tuple[int, int, int]:
    """No change time: some servers set it when a file is read."""
    return stat_now.st_size, stat_now.st_mtime_ns, stat_now.st_ino


def _open(root: Path, path: str) -> int:
    """Open a file in its folder. A link on the way is checked and resolved once; after that check none is followed."""
    flags = os.O_RDONLY | os.O_NONBLOCK  # a pipe put in the file's place cannot hold the worker
    try:
        return open_within(root, path, flags)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV):
            raise
    real, real_root = Path(os.path.realpath(root / path, strict=True)), Path(os.path.realpath(root))
    if not real.is_relative_to(real_root):
        raise Unsuitable("the path is a link that leads out of its folder")
    return open_within(real_root, str(real.relative_to(real_root)), flags)
