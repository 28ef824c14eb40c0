"""A courier's metrics for Prometheus: counts of what it did, and the state of the outbox at each scrape."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, disable_created_metrics, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily
from sqlalchemy.exc import SQLAlchemyError

from queries import outbox
from shared import database
from shared.base.settings import Settings
from shared.database import OutboxKind

OUTCOMES = ("sent", "failed")
STATEMENT_SECONDS = 3.0


class Metrics:
    """What one courier counts."""

    def __init__(self, settings: Settings) -> None:
        self.registry = registry = CollectorRegistry()
        self._delivered = Counter(
            "pneumoscreen_outbox_delivered",
            "Objects and messages that this courier brought to an end, by what became of them.",
            ["destination", "kind", "outcome"],
            registry=registry,
        )
        self._ready = Gauge(
            "pneumoscreen_courier_ready", "1 if the last look for new results went well.", registry=registry
        )
        self._stepped = Gauge(
            "pneumoscreen_courier_last_step_timestamp_seconds",
            "When the courier last looked for new results without an error.",
            registry=registry,
        )
        for name in settings.destinations:  # each starts at 0, or the first one would count for no rate
            for kind in OutboxKind:
                for outcome in OUTCOMES:
                    self._delivered.labels(name, kind, outcome)

    def count(self, destination: str, kind: str, outcome: str) -> None:
        """`outcome` is one of OUTCOMES."""
        self._delivered.labels(destination, kind, outcome).inc()

    def show_step(self, *, is_ready: bool) -> None:
        self._ready.set(is_ready)
        if is_ready:
            self._stepped.set(time.time())


class Situation:
    """A collector that asks SQL; while that is out of reach, it shows no figure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = database.connect(settings.database)
        self._lock = threading.Lock()  # each scrape has a thread of its own

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "pneumoscreen_outbox_waiting", "Objects and messages that are not settled yet.", labels=["destination"]
        )
        age = GaugeMetricFamily(
            "pneumoscreen_outbox_age_seconds",
            "For how long the oldest of them has been there.",
            labels=["destination"],
        )
        failed = GaugeMetricFamily(
            "pneumoscreen_outbox_failed", "Of the last day, those that failed for good.", labels=["destination"]
        )
        away = GaugeMetricFamily(
            "pneumoscreen_destination_away", "1 while a destination is out of reach.", labels=["destination"]
        )
        now = datetime.now(UTC)
        with self._lock:
            try:
                with self._database.read() as session:
                    self._database.limit(session, STATEMENT_SECONDS)
                    destinations = outbox.overview(session, self._settings, now)
            except SQLAlchemyError:
                destinations = []
            finally:
                self._database.close()  # a connection that idles from scrape to scrape may be a dead one
        for each in destinations:
            waiting.add_metric([each.name], each.waiting)
            age.add_metric([each.name], max(0.0, (now - each.oldest).total_seconds()) if each.oldest else 0.0)
            failed.add_metric([each.name], each.failed)
            away.add_metric([each.name], each.away_since is not None)
        yield from (waiting, age, failed, away)


def serve(settings: Settings, metrics: Metrics) -> None:
    """Serve in a thread; nothing if it is switched off. Raises OSError if the port is taken."""
    if not settings.courier_metrics_port:
        return
    disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics.registry.register(Situation(settings))
    start_http_server(settings.courier_metrics_port, settings.metrics_host, metrics.registry)
