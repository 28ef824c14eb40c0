"""The producer's loop: poll the sources, register, send, recover; one thread, each step short."""

import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from producer import recovering
from producer.drifting import DriftWatch
from producer.metrics import Metrics
from producer.reporting import Reporter
from producer.resolving import Resolver
from producer.sending import Sender
from queries.sources import has_sightings
from shared import database, sources
from shared.base.errors import ServiceUnavailable
from shared.base.filesystem import check_room
from shared.base.found import Found
from shared.base.settings import Settings
from shared.database import OUT_OF_REACH, refusals
from shared.ledger.register import MAX_ROWS, register, unknown
from shared.queue import broker
from shared.sources import Poller

log = logging.getLogger(__name__)
TICK = 0.1


class Producer:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = database.connect_checked(settings.database)
        self.redis = broker.client(settings)
        self.metrics = Metrics(settings)
        self.sender = Sender(settings, self.database, broker.application(settings), self.redis, self.metrics)
        self.wake = threading.Event()
        self.sources = sources.build(settings)
        self.pollers: dict[str, Poller] = {
            name: poller for name, source in self.sources.items() if (poller := source.poller(self.wake)) is not None
        }
        self.resolver = Resolver(self.database, self.sources)
        self.reporter = Reporter(self.database)
        self.drift = DriftWatch(self.database, settings.models)
        self._complete: dict[str, list[Found]] = {name: [] for name in self.pollers}
        self._next_maintenance = 0.0
        self._trouble: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set. What is out of reach is retried; nothing is lost, since SQL knows it all."""
        for name in self.pollers:
            log.info("watching source %s for the %s lane", name, self.sources[name].lane)
        if not self.pollers:
            log.warning("no source is configured: only files given to `pneumoscreen screen` are sent")
        try:
            while not stop.is_set():
                self._try_step(stop)
        finally:
            for poller in self.pollers.values():
                poller.stop()
            self.database.close()

    def _try_step(self, stop: threading.Event) -> None:
        try:
            self._step()
        except (*OUT_OF_REACH, RedisError, BrokerError, ServiceUnavailable) as error:
            trouble = _describe(error)
            if trouble != self._trouble:
                log.warning("retrying every second: %s", trouble)
            self._trouble = trouble
            self._next_maintenance = 0.0  # so that only a whole step with maintenance clears it
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
            self.reporter.report(now, self.pollers)  # first: a producer that works no further is not a silent one
            check_room(self.settings.home, self.settings.min_free_disk)
        self._register()  # first what an error left over
        if is_maintenance_due:
            self._maintain()
        self._wait()
        for name, poller in self.pollers.items():
            self._complete[name] += poller.poll(now, partial(self._unknown, name))
        self._register()
        if is_maintenance_due:
            recovering.recover(self.settings, self.database, datetime.now(UTC), self.metrics)
            recovering.check_epoch(self.database, self.redis, self.metrics)
            self.resolver.resolve(now)
            self.drift.look(now)
            self._next_maintenance = now + self.settings.recover_every
        self.sender.send(datetime.now(UTC))

    def _maintain(self) -> None:
        for name, poller in self.pollers.items():
            with self.database.read() as session:
                is_known = has_sightings(session, name)
            poller.maintain(is_known=is_known)
            self.metrics.show_source(name, poller.report())

    def _wait(self) -> None:
        """Until a source reports something; for a moment at most, and not while there is work to go on with."""
        if not any(poller.is_busy for poller in self.pollers.values()):
            self.wake.wait(min(TICK, self.sender.lingers))
        self.wake.clear()  # before the events are taken, so that none comes unseen between the two

    def _unknown(self, source: str, images: Sequence[Found]) -> list[Found]:
        with self.database.read() as session:
            return unknown(session, source, images)

    def _register(self) -> None:
        for name, complete in self._complete.items():
            while complete:
                now, lane = datetime.now(UTC), self.sources[name].lane
                with self.database.write() as session:
                    new = register(session, name, lane, complete[:MAX_ROWS], now)
                self.metrics.count_registered(name, len(new))
                del complete[:MAX_ROWS]


def _describe(error: Exception) -> str:
    if isinstance(error, RedisError | BrokerError):
        return broker.describe(error)
    refusal = refusals.find(error)
    return refusal.sentence if refusal else str(error).splitlines()[0]
