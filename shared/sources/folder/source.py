"""A watched folder: its marker, its watch, and the sweeps that are under way in it."""

import logging
import os
import queue
from collections import deque
from collections.abc import Iterator
from itertools import islice

from shared.base.filesystem import MARKER, network_filesystem
from shared.base.settings import Folder
from shared.ledger.register import Found
from shared.sources.folder.sweep import sweep
from shared.sources.folder.watch import FileEvent, Watch

log = logging.getLogger(__name__)
POLL_SECONDS = 5.0
MAX_ODD = 100
Looked = tuple[Found, os.stat_result]


class Root:
    def __init__(self, name: str, folder: Folder, sweep_every: float, events: "queue.Queue[FileEvent]") -> None:
        self.name, self.path, self.lane = name, folder.path, folder.lane
        self.network = network_filesystem(folder.path)
        polling = folder.polling if folder.polling is not None else self.network is not None
        if polling:
            why = f"it lies on a network share ({self.network})" if self.network else "so it is set"
            log.info("root %s is polled: %s", name, why)
        self._watch = None if polling else Watch(name, folder.path, events)
        self._sweep_every = sweep_every
        self._poll_every = min(sweep_every, POLL_SECONDS)
        self._is_watched = False
        self._sweeps: deque[Iterator[Looked]] = deque()
        self._whole: Iterator[Looked] | None = None
        self._began = 0.0
        self._next_sweep = 0.0
        self._odd: set[str] = set()

    @property
    def is_sweeping(self) -> bool:
        return bool(self._sweeps)

    def maintain(self, is_known: bool) -> None:
        """Write the marker if it is missing; start or restart the watch."""
        self._mark(is_known)
        self._is_watched = self._watch.keep_alive() if self._watch else False

    def _mark(self, is_known: bool) -> None:
        """Not into a folder that is known and empty: that may be a mount point whose share is missing."""
        marker = self.path / MARKER
        try:
            if not marker.exists() and (not is_known or any(self.path.iterdir())):
                marker.touch()
        except OSError as error:
            log.warning("root %s: its marker %s cannot be written: %s", self.name, MARKER, error.strerror)

    def add_folder(self, relative: str) -> None:
        """A folder appeared: what was inside when it came gives no events of its own."""
        self._sweeps.append(sweep(self.path, relative, self._tell_odd))

    def next_files(self, most: int, now: float) -> list[Looked]:
        """The next files of the sweep that is under way; begins one when its time has come, or events were missed."""
        missed = self._watch is not None and self._watch.missed.is_set()
        if not self._sweeps and (now >= self._next_sweep or missed):
            if self._watch:
                self._watch.missed.clear()
            self._whole, self._began = sweep(self.path, on_odd=self._tell_odd), now
            self._sweeps.append(self._whole)
        while self._sweeps:
            files = list(islice(self._sweeps[0], most))
            if files:
                return files
            if self._sweeps.popleft() is self._whole:
                every = self._sweep_every if self._is_watched else self._poll_every
                self._next_sweep = now + max(every, 9 * (now - self._began))  # leave most of the time to other work
        return []

    def _tell_odd(self, relative: str) -> None:
        """Once for each; beyond so many, a folder holds something else than X-rays anyway."""
        if relative in self._odd or len(self._odd) >= MAX_ODD:
            return
        self._odd.add(relative)
        log.warning("root %s holds a pipe, a socket or a device, which is ignored (DEBUG names it)", self.name)
        log.debug("ignored: %r", relative)

    def stop(self) -> None:
        if self._watch:
            self._watch.stop()
