"""Finding new files in a folder: events and sweeps see them, settling tells when they are complete."""

import logging
import os
import queue
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from shared.base.filesystem import MARKER, network_filesystem
from shared.base.found import MAX_ROWS, Found
from shared.base.source_report import SourceReport, WatchedBy
from shared.sources.folder.facts import Facts
from shared.sources.folder.marker import why_away, write
from shared.sources.folder.settling import Settling
from shared.sources.folder.sweep import Sweeps, look
from shared.sources.folder.watch import FileEvent, Watch
from shared.sources.protocol import Unknown

if TYPE_CHECKING:
    from shared.sources.folder.source import FolderSource

log = logging.getLogger(__name__)
MAX_EVENTS = 5_000
MAX_SETTLING = 5_000


class FolderPoller:
    """`Poller` for a folder."""

    def __init__(self, source: "FolderSource", wake: threading.Event) -> None:
        self._source, self._root, self._wake = source, source.root, wake
        self._events: queue.Queue[FileEvent] = queue.Queue(MAX_EVENTS)
        self._settling = Settling(source.settle, MAX_SETTLING)
        self._sweeps = Sweeps(source.name, source.root, source.is_ignored, source.sweep_every)
        self._finished: list[Found] = []
        self._watch: Watch | None = None
        self._place = _place(self._root)
        self._unreadable = 0
        self._is_away = False
        self._problem: str | None = None
        self._choose_way()

    def _choose_way(self) -> None:
        """By events or by polling: decided again when a share is mounted here, or a link leads elsewhere."""
        self._network = network_filesystem(self._root)
        is_polled = self._source.polling if self._source.polling is not None else self._network is not None
        if is_polled:
            why = f"it lies on a network share ({self._network})" if self._network else "its setting `polling` says so"
            log.info("source %s is polled: %s", self._source.name, why)
            self.stop()
            self._watch = None
        elif self._watch is None:
            self._watch = Watch(self._source.name, self._root, self._events, self._wake)

    @property
    def is_busy(self) -> bool:
        """A full `Settling` takes no more of a sweep."""
        return (self._sweeps.are_under_way and not self._settling.is_full) or not self._events.empty()

    def maintain(self, *, is_known: bool) -> None:
        """Write the marker if it is missing; start or restart the watch."""
        self._look_at_place()
        self._look_at_marker(is_known)
        unreadable = self._sweeps.last.unreadable.count if self._sweeps.last else 0
        if self._watch and unreadable < self._unreadable:
            self._watch.stop()  # what could not be listed could not be watched either: begin anew
        self._unreadable = unreadable
        self._sweeps.is_watched = self._watch.keep_alive() if self._watch else False

    def _look_at_place(self) -> None:
        place = _place(self._root)
        if place is not None and place != self._place:  # while it is away nothing is known
            self._place = place
            self._choose_way()

    def _look_at_marker(self, is_known: bool) -> None:
        marker = self._source.marker
        refusal = write(self._root, is_known=is_known) if marker == MARKER else None
        why = why_away(self._root, marker)
        self._is_away = why is not None and refusal is None
        problem = None
        if why is not None:
            problem = f"is out of reach: {why}. Is it mounted?"
        if refusal is not None:
            problem = (
                f"cannot tell a removed file from a share that is away: its marker {MARKER} cannot be written "
                f"({refusal}). Put an empty file of that name there, or set `marker` for this source"
            )
        if problem and problem != self._problem:
            log.warning("source %s %s", self._source.name, problem)
        elif self._problem and not problem:
            log.info("source %s is in reach, and so is its marker", self._source.name)
        self._problem = problem

    def report(self) -> SourceReport:
        """How the folder is watched, and what the last whole sweep could not see or left out."""
        last = self._sweeps.last
        watched_by = WatchedBy.EVENTS if self._sweeps.is_watched else WatchedBy.POLLING
        trouble = self._watch.trouble if self._watch else None
        report = SourceReport(
            WatchedBy.NOTHING if self._is_away else watched_by,
            self._problem,
            f"cannot be watched by events ({trouble}): it is polled instead" if trouble else None,
        )
        if last is None:
            return report
        return replace(
            report,
            files=last.files,
            unreadable=last.unreadable.count,
            unreadable_names=tuple(last.unreadable.first),
            links=last.links.count,
            links_names=tuple(last.links.first),
            ignored=dict(last.ignored),
            swept_at=self._sweeps.ended_at,
        )

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


def _place(folder: Path) -> tuple[int, int] | None:
    """Which folder this is, links followed; None while it is not there."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
