"""Going through a folder's files without holding their names in memory."""

import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from shared.base.filesystem import open_within
from shared.base.found import Found
from shared.sources.folder.facts import Facts
from shared.sources.ignored import is_unfinished

log = logging.getLogger(__name__)
POLL_SECONDS = 5.0
MAX_ODD = 100
Swept = tuple[Found, os.stat_result]


def look(path: Path | os.DirEntry[str]) -> os.stat_result | None:
    """A regular file's stat (of the target, for a link); None if it is gone, or is no file."""
    try:
        file_stat = path.stat()
    except OSError:
        return None
    return file_stat if stat.S_ISREG(file_stat.st_mode) else None


def is_odd(path: Path | os.DirEntry[str]) -> bool:
    """Whether this is a pipe, a socket or a device: nothing that could ever be screened."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def sweep(
    root: Path,
    is_ignored: Callable[[str], bool] = is_unfinished,
    within: str = "",
    on_odd: Callable[[str], object] = lambda _: None,
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
                    elif (file_stat := look(entry)) is not None:
                        yield Facts.of(file_stat).found(relative), file_stat
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


class Sweeps:
    """The sweeps of one folder: of the whole of it every so often, of a part of it when that appears."""

    def __init__(self, name: str, root: Path, is_ignored: Callable[[str], bool], sweep_every: float) -> None:
        self._name, self._root, self._is_ignored = name, root, is_ignored
        self._sweep_every = sweep_every
        self._poll_every = min(sweep_every, POLL_SECONDS)
        self.is_watched = False
        self._under_way: deque[Iterator[Swept]] = deque()
        self._whole: Iterator[Swept] | None = None
        self._began = 0.0
        self._next_sweep = 0.0
        self._odd: set[str] = set()

    @property
    def are_under_way(self) -> bool:
        return bool(self._under_way)

    def add_folder(self, relative: str) -> None:
        """A folder appeared: what was inside when it came gives no events of its own."""
        self._under_way.append(self._sweep(relative))

    def make_due(self) -> None:
        """Events may have been missed: sweep the whole folder as soon as no sweep is under way."""
        self._next_sweep = 0.0

    def next_files(self, most: int, now: float) -> list[Swept]:
        """The next files of the sweep that is under way; begins one when its time has come."""
        if not self._under_way and now >= self._next_sweep:
            self._whole, self._began = self._sweep(), now
            self._under_way.append(self._whole)
        while self._under_way:
            files = list(islice(self._under_way[0], most))
            if files:
                return files
            if self._under_way.popleft() is self._whole:
                every = self._sweep_every if self.is_watched else self._poll_every
                self._next_sweep = now + max(every, 9 * (now - self._began))  # leave most of the time to other work
        return []

    def _sweep(self, within: str = "") -> Iterator[Swept]:
        return sweep(self._root, self._is_ignored, within, self._report_odd)

    def _report_odd(self, relative: str) -> None:
        """Once for each; beyond so many, a folder holds something else than X-rays anyway."""
        if relative in self._odd or len(self._odd) >= MAX_ODD:
            return
        self._odd.add(relative)
        log.warning("source %s holds a pipe, a socket or a device, which is ignored (DEBUG names it)", self._name)
        log.debug("ignored: %r", relative)
