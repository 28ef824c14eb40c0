"""The producer's loop: events and sweeps, settling, registering, sending, recovering; one thread, each step short."""

import logging
import queue
import threading
import time
from datetime import UTC, datetime

from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError
from sqlalchemy import select

from producer import recovering
from producer.metrics import Metrics
from producer.sending import Sender
from shared import database
from shared.base.errors import DiskLow, ServiceUnavailable
from shared.base.filesystem import check_room
from shared.base.settings import Settings
from shared.database import OUT_OF_REACH, Sighting
from shared.ledger.register import MAX_ROWS, Found, register, unknown
from shared.queue import broker
from shared.sources.folder.facts import Facts
from shared.sources.folder.settling import Candidate, Settling
from shared.sources.folder.source import Root
from shared.sources.folder.sweep import look
from shared.sources.folder.watch import FileEvent
from shared.sources.ignored import is_ignored

log = logging.getLogger(__name__)
MAX_EVENTS = 5_000
MAX_SETTLING = 5_000
TICK = 0.1


class Producer:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = database.connect(settings.database)
        try:
            self.database.check()
        except ServiceUnavailable:
            self.database.close()
            raise
        self.redis = broker.client(settings)
        self.metrics = Metrics(settings)
        self.sender = Sender(settings, self.database, broker.application(settings), self.redis, self.metrics)
        self.settling = Settling(settings.settle, MAX_SETTLING)
        self.events: queue.Queue[FileEvent] = queue.Queue(MAX_EVENTS)
        self.roots = {
            name: Root(name, folder, settings.sweep_every, self.events) for name, folder in settings.folders.items()
        }
        self._finished: dict[str, list[Found]] = {name: [] for name in self.roots}
        self._next_maintenance = 0.0
        self._trouble: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. What is out of reach is tried again; nothing is lost meanwhile: SQL knows it all."""
        for root in self.roots.values():
            log.info("watching root %s for the %s lane", root.name, root.lane)
        if not self.roots:
            log.warning("no folder is configured: only files given to `pneumoscreen screen` are sent")
        try:
            while not stop.is_set():
                self._try_step(stop)
        finally:
            for root in self.roots.values():
                root.stop()
            self.database.close()

    def _try_step(self, stop: threading.Event) -> None:
        try:
            self._step()
        except (*OUT_OF_REACH, RedisError, BrokerError, DiskLow) as error:
            trouble = str(error).splitlines()[0]
            if trouble != self._trouble:
                log.warning("trying again every second: %s", trouble)
            self._trouble = trouble
            self._next_maintenance = 0.0  # so that only a look at everything says that all is well
            self.metrics.show_step(is_ready=False)
            stop.wait(1.0)
        else:
            if self._trouble:
                log.info("within reach again")
            self._trouble = None
            self.metrics.show_step(is_ready=True)

    def _step(self) -> None:
        now = time.monotonic()
        is_maintenance_due = now >= self._next_maintenance
        if is_maintenance_due:
            check_room(self.settings.home, self.settings.min_free_disk)
        self._register()  # first what an error left over, before there is more
        if is_maintenance_due:
            self._maintain()
        self._take_events(now)
        for candidate in self.settling.due(now):
            self._look(candidate, now)
        for root in self.roots.values():
            if not self.settling.is_full:
                self._sweep(root, now)
        self._register()
        if is_maintenance_due:
            recovering.recover(self.settings, self.database, datetime.now(UTC), self.metrics)
            recovering.check_epoch(self.database, self.redis, self.metrics)
            self._next_maintenance = now + self.settings.recover_every
        self.sender.send(datetime.now(UTC))

    def _maintain(self) -> None:
        """Keep the markers and the watches alive."""
        for root in self.roots.values():
            with self.database.read() as session:
                known = session.scalar(select(Sighting.id).where(Sighting.source == root.name).limit(1))
            root.maintain(is_known=known is not None)

    def _take_events(self, now: float) -> None:
        """What the system reported; waits for a moment if there is nothing else to do."""
        is_busy = any(root.is_sweeping for root in self.roots.values())
        try:
            event = self.events.get(timeout=0.001 if is_busy else min(TICK, self.sender.lingers))
            for _ in range(MAX_ROWS):
                self._take(event, now)
                event = self.events.get_nowait()
            self._take(event, now)
        except queue.Empty:
            return

    def _take(self, event: FileEvent, now: float) -> None:
        if is_ignored(event.path):
            return
        if event.is_folder:
            self.roots[event.source].add_folder(event.path)
        elif event.is_closed or not self.settling.is_full:
            self._look(Candidate(event.source, event.path), now, closed=event.is_closed)

    def _look(self, candidate: Candidate, now: float, *, closed: bool = False) -> None:
        stat = look(self.roots[candidate.source].path / candidate.path)
        facts = Facts.of(stat) if stat else None
        if self.settling.look(candidate, facts, now, closed=closed) and facts:
            self._finished[candidate.source].append(facts.found(candidate.path))

    def _sweep(self, root: Root, now: float) -> None:
        files = dict(root.next_files(MAX_ROWS, now))
        if not files:
            return
        with self.database.read() as session:
            new = unknown(session, root.name, list(files))
        for found in new:
            stat = files[found]
            # On a local disk the times are this machine's own, and the change time cannot be set back by a copy.
            quiet = time.time() - max(stat.st_mtime, stat.st_ctime) if root.network is None else 0.0
            candidate = Candidate(root.name, found.path)
            if self.settling.look(candidate, Facts.of(stat), now, closed=quiet >= self.settings.settle):
                self._finished[root.name].append(found)

    def _register(self) -> None:
        for name, finished in self._finished.items():
            while finished:
                with self.database.write() as session:
                    new = register(session, name, self.roots[name].lane, finished[:MAX_ROWS], datetime.now(UTC))
                self.metrics.count_registered(name, len(new))
                del finished[:MAX_ROWS]
