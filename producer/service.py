"""The producer's loop: signs and sweeps, settling, registering, sending, recovering; one thread, each step short."""

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
from producer.names import is_ignored
from producer.root import Root
from producer.sending import Sender
from producer.settling import Candidate, Settling
from producer.sweep import look
from producer.watch import Sign
from shared import broker, database
from shared.database import OUT_OF_REACH, Sighting
from shared.errors import DiskLow, ServiceUnavailable
from shared.filesystem import check_room
from shared.ledger.register import MOST_ROWS, Facts, Found, register, unknown
from shared.settings import Settings

log = logging.getLogger(__name__)
MOST_SIGNS = 5_000
MOST_SETTLING = 5_000
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
        self.settling = Settling(settings.settle, MOST_SETTLING)
        self.signs: queue.Queue[Sign] = queue.Queue(MOST_SIGNS)
        self.roots = {
            name: Root(name, folder, settings.sweep_every, self.signs) for name, folder in settings.folders.items()
        }
        self._finished: dict[str, list[Found]] = {name: [] for name in self.roots}
        self._next_care = 0.0
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
            self._next_care = 0.0  # so that only a look at everything says that all is well
            self.metrics.show_step(is_ready=False)
            stop.wait(1.0)
        else:
            if self._trouble:
                log.info("within reach again")
            self._trouble = None
            self.metrics.show_step(is_ready=True)

    def _step(self) -> None:
        now = time.monotonic()
        is_time_to_care = now >= self._next_care
        if is_time_to_care:
            check_room(self.settings.home, self.settings.min_free_disk)
        self._register()  # first what an error left over, before there is more
        if is_time_to_care:
            self._care()
        self._take_signs(now)
        for candidate in self.settling.due(now):
            self._look(candidate, now)
        for root in self.roots.values():
            if not self.settling.is_full:
                self._sweep(root, now)
        self._register()
        if is_time_to_care:
            recovering.recover(self.settings, self.database, datetime.now(UTC), self.metrics)
            recovering.check_epoch(self.database, self.redis, self.metrics)
            self._next_care = now + self.settings.recover_every
        self.sender.send(datetime.now(UTC))

    def _care(self) -> None:
        """Keep the markers and the watches alive."""
        for root in self.roots.values():
            with self.database.read() as session:
                known = session.scalar(select(Sighting.id).where(Sighting.root == root.name).limit(1))
            root.care(is_known=known is not None)

    def _take_signs(self, now: float) -> None:
        """What the system reported; waits for a moment if there is nothing else to do."""
        is_busy = any(root.is_sweeping for root in self.roots.values())
        try:
            sign = self.signs.get(timeout=0.001 if is_busy else min(TICK, self.sender.lingers))
            for _ in range(MOST_ROWS):
                self._take(sign, now)
                sign = self.signs.get_nowait()
            self._take(sign, now)
        except queue.Empty:
            return

    def _take(self, sign: Sign, now: float) -> None:
        if is_ignored(sign.path):
            return
        if sign.is_folder:
            self.roots[sign.root].add_folder(sign.path)
        elif sign.is_closed or not self.settling.is_full:
            self._look(Candidate(sign.root, sign.path), now, closed=sign.is_closed)

    def _look(self, candidate: Candidate, now: float, *, closed: bool = False) -> None:
        stat = look(self.roots[candidate.root].path / candidate.path)
        facts = Facts.of(stat) if stat else None
        if self.settling.look(candidate, facts, now, closed=closed) and facts:
            self._finished[candidate.root].append(Found(candidate.path, facts))

    def _sweep(self, root: Root, now: float) -> None:
        files = dict(root.next_files(MOST_ROWS, now))
        if not files:
            return
        with self.database.read() as session:
            new = unknown(session, root.name, list(files))
        for found in new:
            stat = files[found]
            # On a local disk the times are this machine's own, and the change time cannot be set back by a copy.
            quiet = time.time() - max(stat.st_mtime, stat.st_ctime) if root.network is None else 0.0
            candidate = Candidate(root.name, found.path)
            if self.settling.look(candidate, found.facts, now, closed=quiet >= self.settings.settle):
                self._finished[root.name].append(found)

    def _register(self) -> None:
        for name, finished in self._finished.items():
            while finished:
                with self.database.write() as session:
                    new = register(session, name, self.roots[name].lane, finished[:MOST_ROWS], datetime.now(UTC))
                self.metrics.count_registered(name, len(new))
                del finished[:MOST_ROWS]
