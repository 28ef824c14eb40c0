"""Finds new files in a folder by way of a process of its own, `polling_helper`, so that a folder that hangs holds up
nobody. A process that hangs or dies is replaced; what it had seen and not reported, the next one's sweep finds."""

import logging
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shared.base.found import Found
from shared.base.source_report import SourceReport, WatchedBy, report_of
from shared.sources.folder.helpers import END_SECONDS, START_SECONDS, HelperDied, Process
from shared.sources.folder.reach import MAX_HUNG, Reach
from shared.sources.protocol import Unknown

if TYPE_CHECKING:
    from shared.sources.folder.source import FolderSource

log = logging.getLogger(__name__)
PROGRAM = "shared.sources.folder.polling_helper"
MAX_PAUSE = 60.0
"""Seconds between two starts of a process that dies again and again; the first pauses are shorter."""


class HelpedPoller:
    """`Poller` that never waits for the folder."""

    def __init__(self, source: "FolderSource", reach: Reach, wake: threading.Event) -> None:
        self._source, self._reach, self._wake = source, reach, wake
        self._report = SourceReport(WatchedBy.NOTHING)
        self._process: PollingProcess | None = None
        self._hung: list[PollingProcess] = []
        self._pause, self._start_at = 1.0, 0.0
        self._away_at = 0.0
        self._gave_up, self._gave_up_at = False, 0.0

    @property
    def is_busy(self) -> bool:
        return self._process is not None and bool(self._process.inbox)

    def report(self) -> SourceReport:
        hung = self._reach.hung + len(self._hung) + self._gave_up
        if self._reach.is_away:
            return replace(self._report, watched_by=WatchedBy.NOTHING, problem=self._reach.trouble, hung=hung)
        return replace(self._report, hung=hung)

    def maintain(self, *, is_known: bool) -> None:
        """Does nothing while the folder is away: orders would pile up that nobody reads."""
        now = time.monotonic()
        self._hung = [process for process in self._hung if not process.has_ended()]
        if self._process is None and now >= self._start_at and len(self._hung) < MAX_HUNG and not self._reach.is_away:
            self._start(now)
        if self._process is not None and not self._gave_up:
            self._order({"maintain": is_known})

    def poll(self, now: float, unknown: Unknown) -> list[Found]:
        images: list[Found] = []
        process = self._process
        if process is None:
            return images
        while process.inbox:
            (kind, content), *_ = process.inbox[0].items()
            if kind == "images":
                images += [Found(*row) for row in content]
                self._answer(process, None)
            elif kind == "unknown":
                self._answer(process, _numbers(content, unknown))
            elif kind == "report":
                self._report, self._pause = report_of(content), 1.0
            process.inbox.popleft()  # not before `unknown` has answered: what it raises passes through
        self._check(process, now)
        return images

    def stop(self) -> None:
        processes = [process for process in (self._process, *self._hung) if process is not None]
        for process in processes:
            process.kill()
        for process in processes:
            process.end(0.0 if self._gave_up else END_SECONDS)

    def _start(self, now: float) -> None:
        try:
            self._process = PollingProcess(self._source, self._wake)
        except (OSError, HelperDied) as error:
            log.warning("source %s: the process that polls it could not be started: %s", self._source.name, error)
            self._put_off_start(now)

    def _put_off_start(self, now: float) -> None:
        self._process, self._gave_up = None, False
        self._start_at = now + self._pause
        self._pause = min(2 * self._pause, MAX_PAUSE)

    def _answer(self, process: "PollingProcess", answer: list[int] | None) -> None:
        """It has waited for this, so its silence begins now."""
        process.heard_at = time.monotonic()
        self._order({"answer": answer})

    def _order(self, order: dict[str, Any]) -> None:
        assert self._process is not None
        try:
            self._process.write(order)
        except HelperDied:
            self._process.is_dead = True

    def _check(self, process: "PollingProcess", now: float) -> None:
        """Is the process alive, and does it get on? `now` is monotonic."""
        if process.is_dead:
            log.warning("source %s: the process that polls it died, and is started again", self._source.name)
            process.end()
            self._put_off_start(now)
            return
        self._away_at = now if self._reach.is_away else self._away_at
        is_silent = now - max(process.heard_at, self._away_at) > self._reach.timeout
        if self._gave_up and process.polled_at > self._gave_up_at:
            self._gave_up = False
            self._reach.welcome()
        elif is_silent and self._gave_up:  # the folder answers others: this process waits for what never comes
            process.kill()
            self._hung.append(process)
            self._put_off_start(now)
        elif is_silent:
            self._gave_up, self._gave_up_at = True, now
            self._reach.give_up()


class PollingProcess(Process):
    """A running `polling_helper`, to which a thread listens. Raises OSError, HelperDied."""

    def __init__(self, source: "FolderSource", wake: threading.Event) -> None:
        super().__init__(PROGRAM)
        self.inbox: deque[dict[str, Any]] = deque()
        self.heard_at = time.monotonic() + START_SECONDS
        self.polled_at = 0.0
        self.is_dead = False
        self.write([source.row, logging.getLogger().getEffectiveLevel()])
        threading.Thread(target=self._listen, args=[wake], name=f"poller {source.name}", daemon=True).start()

    def _listen(self, wake: threading.Event) -> None:
        try:
            while True:
                messages = self.receive()
                self.heard_at = time.monotonic()
                for message in messages:
                    if "log" in message:
                        name, level, text = message["log"]
                        logging.getLogger(name).log(level, "%s", text)
                        continue
                    self.polled_at = self.heard_at  # of the folder itself, not only of a call that gets on
                    if "polled" not in message:
                        self.inbox.append(message)
                        wake.set()
        except (HelperDied, OSError, ValueError):  # it died, or was closed
            self.is_dead = True
            wake.set()


def _numbers(rows: list[list[Any]], unknown: Unknown) -> list[int]:
    """Which of the images are unknown, by their places in the list."""
    images = [Found(*row) for row in rows]
    chosen = set(unknown(images))
    return [number for number, image in enumerate(images) if image in chosen]
