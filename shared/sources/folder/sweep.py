"""Going through a root's files without holding their names in memory."""

import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.base.filesystem import open_within
from shared.ledger.register import Found
from shared.sources.folder.facts import Facts
from shared.sources.ignored import is_ignored

log = logging.getLogger(__name__)


def look(path: Path | os.DirEntry[str]) -> os.stat_result | None:
    """A regular file's stat (of the target, for a link); None if it is gone, or is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def is_odd(path: Path | os.DirEntry[str]) -> bool:
    """Whether this is a pipe, a socket or a device: nothing that could ever be screened."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def sweep(
    root: Path, within: str = "", on_odd: Callable[[str], object] = lambda _: None
) -> Iterator[tuple[Found, os.stat_result]]:
    """Every file below `root` (or below the folder `within` it) that is not ignored; linked folders are not entered.

    `on_odd` is told the names of pipes, sockets and devices.
    """
    folders = [within]
    while folders:
        folder = folders.pop()
        try:
            with _listed(root, folder) as entries:
                for entry in entries:
                    relative = f"{folder}/{entry.name}" if folder else entry.name
                    if is_ignored(relative):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(relative)
                    elif (found := look(entry)) is not None:
                        yield Facts.of(found).found(relative), found
                    elif is_odd(entry):
                        on_odd(relative)
        except OSError as error:  # it went away or cannot be listed: the next sweep sees what there is then
            log.warning("a folder could not be listed: %s", error.strerror)


@contextmanager
def _listed(root: Path, folder: str) -> "Iterator[Iterator[os.DirEntry[str]]]":
    """What a folder holds; not through a link that was put in its place since it was found."""
    descriptor = open_within(root, folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)
