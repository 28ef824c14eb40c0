"""Going through a root's files without holding their names in memory."""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from producer.names import is_ignored
from shared.ledger.register import Facts, Found

log = logging.getLogger(__name__)


def look(path: Path | str) -> os.stat_result | None:
    """A regular file's stat (of the target, for a link); None if it is gone, or is no file."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def sweep(root: Path, within: str = "") -> Iterator[tuple[Found, os.stat_result]]:
    """Every file below `root` (or below the folder `within` it) that is not ignored; linked folders are not entered."""
    folders = [within]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    relative = f"{folder}/{entry.name}" if folder else entry.name
                    if is_ignored(relative):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(relative)
                    elif (found := look(entry.path)) is not None:
                        yield Found(relative, Facts.of(found)), found
        except OSError as error:  # it went away or cannot be listed: the next sweep sees what there is then
            log.warning("a folder could not be listed: %s", error.strerror)
