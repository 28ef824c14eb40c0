"""Finding new files in a folder: events and sweeps see them, settling tells when they are complete."""

import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING

from shared.base.filesystem import MARKER, network_filesystem
from shared.base.found import MAX_ROWS, Found
from shared.sources.folder.facts import Facts
from shared.sources.folder.settling import Settling
from shared.sources.folder.sweep import Sweeps, look
from shared.sources.folder.watch import FileEvent, Watch
from shared.sources.protocol import Report, Unknown

if TYPE_CHECKING:
    from shared.sources.folder.source import FolderSource

log = logging.getLogger(__name__)
MAX_EVENTS = 5_000
MAX_SETTLING = 5_000


class FolderPoller:
    """`Poller` for a folder."""

    def __init__(self, source: "FolderSource", wake: threading.Event) -> None:
        self._source, self._root = source, source.root
        self._network = network_filesystem(source.root)
        self._events: queue.Queue[FileEvent] = queue.Queue(MAX_EVENTS)
        self._watch = None if self._is_polled() else Watch(source.name, source.root, self._events, wake)
        self._settling = Settling(source.settle, MAX_SETTLING)
        self._sweeps = Sweeps(source.name, source.root, source.is_ignored, source.sweep_every)
        self._finished: list[Found] = []

    def _is_polled(self) -> bool:
        name, network, polling = self._source.name, self._network, self._source.polling
        is_polled = polling if polling is not None else network is not None
        if is_polled:
            why = f"it lies on a network share ({network})" if network else "its setting `polling` says so"
            log.info("source %s is polled: %s", name, why)
        return is_polled

    @property
    def is_busy(self) -> bool:
        """A full `Settling` takes no more of a sweep."""
        return (self._sweeps.are_under_way and not self._settling.is_full) or not self._events.empty()

    @property
    def report(self) -> Report:
        return Report("events" if self._sweeps.is_watched else "polling")

    def maintain(self, *, is_known: bool) -> None:
        """Write the marker if it is missing; start or restart the watch."""
        self._mark(is_known)
        self._sweeps.is_watched = self._watch.keep_alive() if self._watch else False

    def _mark(self, is_known: bool) -> None:
        """Not into a folder that is known and empty: that may be a mount point whose share is missing."""
        marker = self._root / MARKER
        try:
            if not marker.exists() and (not is_known or any(self._root.iterdir())):
                marker.touch()
        except OSError as error:
            log.warning("source %s: its marker %s cannot be written: %s", self._source.name, MARKER, error.strerror)

    def poll(self, now: float, unknown: Unknown) -> list[Found]:
        self._take_events(now)
        for path in self._settling.due(now):
            self._look(path, now)
        if not self._settling.is_full:
            self._sweep(now, unknown)
        finished, self._finished = self._finished, []
        return finished

    def _take_events(self, now: float) -> None:
        for _ in range(min(self._events.qsize(), MAX_ROWS)):
            self._take(self._events.get_nowait(), now)

    def _take(self, event: FileEvent, now: float) -> None:
        if self._source.is_ignored(event.path):
            return
        if event.is_folder:
            self._sweeps.add_folder(event.path)
        elif event.is_closed or not self._settling.is_full:
            self._look(event.path, now, closed=event.is_closed)

    def _look(self, path: str, now: float, *, closed: bool = False) -> None:
        stat = look(self._root / path)
        facts = Facts.of(stat) if stat else None
        if self._settling.look(path, facts, now, closed=closed) and facts:
            self._finished.append(facts.found(path))

    def _sweep(self, now: float, unknown: Unknown) -> None:
        if self._watch is not None and self._watch.missed.is_set() and not self._sweeps.are_under_way:
            self._watch.missed.clear()
            self._sweeps.make_due()
        files = dict(self._sweeps.next_files(MAX_ROWS, now))
        for found in unknown(list(files)) if files else ():
            facts = Facts.of(files[found])
            if self._settling.look(found.path, facts, now, closed=self._is_quiet(files[found])):
                self._finished.append(found)

    def _is_quiet(self, stat: os.stat_result) -> bool:
        """On a local disk the times are this machine's own, and a copy cannot set back the change time."""
        quiet = time.time() - max(stat.st_mtime, stat.st_ctime) if self._network is None else 0.0
        return quiet >= self._source.settle

    def stop(self) -> None:
        if self._watch:
            self._watch.stop()
