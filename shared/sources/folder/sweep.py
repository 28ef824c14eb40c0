"""Going through a folder's files without holding their names in memory."""

import errno
import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from shared.base.filesystem import open_within
from shared.base.found import Found
from shared.sources.folder.facts import Facts
from shared.sources.folder.tally import Names, Tally
from shared.sources.ignored import IgnoreRule, is_unfinished

log = logging.getLogger(__name__)
POLL_SECONDS = 5.0
Swept = tuple[Found, os.stat_result]


def look(path: Path | os.DirEntry[str]) -> os.stat_result | None:
    """A regular file's stat (of the target, for a link); None if it is gone, or is no file."""
    try:
        file_stat = path.stat()
    except OSError:
        return None
    return file_stat if stat.S_ISREG(file_stat.st_mode) else None


def sweep(
    root: Path,
    is_ignored: Callable[[str], bool] = is_unfinished,
    within: str = "",
    tally: Tally | None = None,
) -> Iterator[Swept]:
    """Every file below `root` (or below the folder `within` it) that is not ignored; linked folders are not entered.

    `tally` notes what is left out, and why. A link to a file that leads out is found as a file, since a row says why it
    is not read, and is counted among the links.
    """
    tally = tally or Tally()
    folders = [within]
    while folders:
        folder, is_noted = folders.pop(), False
        try:
            with _listed(root, folder) as entries:
                for entry in entries:
                    relative = f"{folder}/{entry.name}" if folder else entry.name
                    if is_ignored(relative):
                        tally.ignore(relative)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(relative)
                    elif (file_stat := look(entry)) is not None:
                        tally.files += 1
                        if entry.is_symlink() and _leads_out(root, relative):
                            tally.links.add(relative)
                        yield Facts.of(file_stat).found(relative), file_stat
                    elif not _may_be_looked_at(entry):
                        if not is_noted:
                            tally.unreadable.add(folder)
                        is_noted = True
                    else:
                        _note_other(tally, entry, relative)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it went away, or a link took its place: the next sweep sees what there is then
        except OSError as error:
            if error.errno != errno.ELOOP:
                tally.unreadable.add(folder)


def _may_be_looked_at(entry: "os.DirEntry[str]") -> bool:
    """False if its folder can be listed, but lets nobody see what lies in it. What a link leads to plays no part."""
    try:
        entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _note_other(tally: Tally, entry: "os.DirEntry[str]", relative: str) -> None:
    """What is neither a file nor a folder: a link that is not followed, a pipe, a socket or a device."""
    if entry.is_symlink() and not _leads_to_odd(entry):
        tally.links.add(relative)
    elif entry.is_symlink() or not entry.is_file(follow_symlinks=False):
        tally.add_odd(relative)


def _leads_out(root: Path, link: str) -> bool:
    """Whether workers refuse it, as `reading` does."""
    return not Path(os.path.realpath(root / link)).is_relative_to(os.path.realpath(root))


def _leads_to_odd(link: "os.DirEntry[str]") -> bool:
    try:
        return not stat.S_ISDIR(link.stat().st_mode)
    except OSError:  # it is broken, leads to itself, or to where this user may not look
        return False


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

    def __init__(self, name: str, root: Path, rule: IgnoreRule, sweep_every: float) -> None:
        self._name, self._root, self._rule = name, root, rule
        self._sweep_every = sweep_every
        self._poll_every = min(sweep_every, POLL_SECONDS)
        self.is_watched = False
        self._under_way: deque[Iterator[Swept]] = deque()
        self._whole: Iterator[Swept] | None = None
        self._counting = Tally()
        self._began = 0.0
        self._next_sweep = 0.0
        self.last: Tally | None = None
        """Of the last whole sweep."""
        self.ended_at: float | None = None
        """When that ended, in seconds since 1970."""

    @property
    def are_under_way(self) -> bool:
        return bool(self._under_way)

    def add_folder(self, relative: str) -> None:
        """A folder appeared: what was inside when it came gives no events of its own."""
        self._under_way.append(sweep(self._root, self._rule, relative))

    def make_due(self) -> None:
        """Events may have been missed: sweep the whole folder as soon as no sweep is under way."""
        self._next_sweep = 0.0

    def next_files(self, most: int, now: float) -> list[Swept]:
        """The next files of the sweep that is under way; begins one when its time has come."""
        if not self._under_way and now >= self._next_sweep:
            self._counting, self._began = Tally(self._rule.pattern), now
            self._whole = sweep(self._root, self._rule, tally=self._counting)
            self._under_way.append(self._whole)
        while self._under_way:
            files = list(islice(self._under_way[0], most))
            if files:
                return files
            if self._under_way.popleft() is self._whole:
                every = self._sweep_every if self.is_watched else self._poll_every
                self._next_sweep = now + max(every, 9 * (now - self._began))  # leave most of the time to other work
                self._take_counts()
        return []

    def _take_counts(self) -> None:
        before, self.last, self.ended_at = self.last or Tally(), self._counting, time.time()
        self._log_change("folders that cannot be listed", before.unreadable, self.last.unreadable, logging.WARNING)
        self._log_change("links that are not followed", before.links, self.last.links, logging.INFO)
        self._log_change("pipes, sockets and devices, which are ignored", before.odd, self.last.odd, logging.INFO)

    def _log_change(self, what: str, before: Names, names: Names, level: int) -> None:
        """Once for each change, not at each sweep."""
        if names != before:
            log.log(level, "source %s: %s: %d (see `pneumoscreen sources`)", self._name, what, names.count)
            log.debug("source %s: %s: %r", self._name, what, names.first)
