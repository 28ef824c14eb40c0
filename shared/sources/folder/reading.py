"""Reads a file once, from inside its folder, and classifies what fails: the file's fault, or the environment's."""

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from shared.base.errors import Changed, OutOfReach, Unreadable, Unsuitable
from shared.base.filesystem import MARKER, open_within
from shared.ledger.register import REMOVED
from shared.sources.folder.facts import Facts
from shared.sources.folder.marker import why_away

if TYPE_CHECKING:
    from shared.imaging import Limits


def read(root: Path, path: str, revision: str, limits: "Limits", marker: str = MARKER) -> bytes:
    """The bytes of a file that is still at the registered revision.

    Raises Changed if it is not, Unreadable for a permanent failure, OutOfReach for a transient one.
    """
    try:
        return _read(root, path, revision, limits)
    except (FileNotFoundError, NotADirectoryError) as error:
        if why := why_away(root, marker):
            raise OutOfReach(f"the folder {root} is out of reach: {why}") from error
        if not _is_missing(root / path):
            raise OutOfReach(f"the folder {root} was out of reach a moment ago") from error
        raise Unreadable(REMOVED) from error
    except PermissionError as error:
        raise OutOfReach("the file cannot be opened: no permission to read it") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise Unsuitable("this is not a regular file: a socket, or a link that leads to itself") from error
        raise OutOfReach(f"the file cannot be read: {error.strerror or error}") from error


def _is_missing(file: Path) -> bool:
    """Whether its folder says so: any other error says nothing of the file."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _read(root: Path, path: str, revision: str, limits: "Limits") -> bytes:
    descriptor = _open(root, path)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise Unsuitable("this is not a regular file")
        if Facts.of(before).revision != revision:
            raise _changed(before)
        if before.st_size > limits.bytes:
            raise Unsuitable(f"{before.st_size:,} bytes are more than the limit of {limits.bytes:,} (max_bytes)")
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            data = file.readall()
        after = os.fstat(descriptor)
        if Facts.of(after).revision != revision or len(data) != after.st_size:
            raise _changed(after)
    finally:
        os.close(descriptor)
    return data


def _changed(stat_now: os.stat_result) -> Changed:
    facts = Facts.of(stat_now)
    return Changed(facts.revision, facts.size)


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
