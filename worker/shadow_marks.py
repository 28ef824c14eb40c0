"""Notes on disk that a version in shadow loads or runs: what a process that it ended leaves for the next one to find.

One that takes all the memory, or crashes, ends its process without a word. The next process would begin it anew, for
ever, and each time images in hand wait for their lease and one of them may be blamed.
"""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from shared.base import host

log = logging.getLogger(__name__)


class Marks:
    """Of one process; the names hold the host too, for hosts may share a home."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "run"
        self._mine: Path | None = None

    @contextmanager
    def held(self, run: int) -> Iterator[None]:
        """While a version loads or runs; a home that cannot be written to holds up nothing."""
        mine = self._folder / f"shadow-{run}-{os.getpid()}@{host.name()}"
        try:
            mine.parent.mkdir(parents=True, exist_ok=True)
            mine.write_text(_began(os.getpid()))
        except OSError as error:
            log.debug("no note of the version in shadow could be made: %s", error)
        self._mine = mine
        try:
            yield
        finally:
            self.remove()

    def remove(self) -> None:
        """Also where this process ends otherwise, while the version in shadow hangs: that is not why it ends."""
        mine, self._mine = self._mine, None
        if mine is not None:
            with suppress(OSError):
                mine.unlink(missing_ok=True)

    def of_the_dead(self, runs: Collection[int]) -> set[int]:
        """Those of the open runs that were under way on this host when their process died; forgets the other runs'."""
        found = set()
        for file in self._folder.glob(f"shadow-*-*@{host.name()}"):
            with suppress(OSError, ValueError):
                run, pid = map(int, file.name.removeprefix("shadow-").partition("@")[0].split("-"))
                began = _began(pid)
                if began and began == file.read_text():
                    continue
                if run in runs:
                    found.add(run)
                else:
                    file.unlink()
        return found


def _began(pid: int) -> str:
    """When a process began, which tells it from a later one of the same number; empty if there is none."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""
