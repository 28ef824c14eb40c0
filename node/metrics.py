"""A node's metrics for Prometheus."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, start_http_server

from shared.base.settings import Settings

if TYPE_CHECKING:
    from node.receiving import Outcome

OUTCOMES = ("stored", "again", "other_content", "invalid", "refused")
REJECTIONS = ("address", "places", "negotiation", "tls", "limits")
"""Why a connection was refused or ended: its address is not allowed; all places were taken, or its address had its
share of them; its titles were refused; it had no valid certificate; it sent too much, or too slowly."""
COMMITMENTS = ("asked", "answered", "failed")


class Metrics:
    def __init__(self, sources: Iterable[str]) -> None:
        self.registry = registry = CollectorRegistry()
        self._objects = Counter(
            "pneumoscreen_node_objects",
            "Objects that were sent to this node, by what became of them.",
            ["source", "outcome"],
            registry=registry,
        )
        self._bytes = Counter("pneumoscreen_node_bytes", "Bytes of objects stored.", ["source"], registry=registry)
        self._rejections = Counter(
            "pneumoscreen_node_rejections", "Connections refused or ended.", ["source", "reason"], registry=registry
        )
        self._commitments = Counter(
            "pneumoscreen_node_commitments",
            "Storage commitments asked for, answered, and given up since the asker could not be reached.",
            ["source", "outcome"],
            registry=registry,
        )
        self._associations = Gauge(
            "pneumoscreen_node_connections", "Connections that are open.", ["source"], registry=registry
        )
        self._ready = Gauge(
            "pneumoscreen_node_ready",
            "1 if the source's folder and disk, and the database, allow that objects are taken.",
            ["source"],
            registry=registry,
        )
        self._stepped = Gauge(
            "pneumoscreen_node_last_step_timestamp_seconds",
            "When the node last looked after itself.",
            registry=registry,
        )
        # Each starts at 0, or the first event would count for no rate.
        for source in sources:
            for counter, labels in (
                (self._objects, OUTCOMES),
                (self._rejections, REJECTIONS),
                (self._commitments, COMMITMENTS),
            ):
                for label in labels:
                    counter.labels(source, label)
            self._bytes.labels(source)
            self._associations.labels(source)
            self._ready.labels(source)

    def count_object(self, source: str, outcome: "Outcome", stored: int) -> None:
        """`stored`: bytes."""
        self._objects.labels(source, outcome).inc()
        self._bytes.labels(source).inc(stored)

    def count_rejection(self, source: str, reason: str) -> None:
        """`reason` is one of REJECTIONS."""
        self._rejections.labels(source, reason).inc()

    def count_commitment(self, source: str, outcome: str) -> None:
        """`outcome` is one of COMMITMENTS."""
        self._commitments.labels(source, outcome).inc()

    def show_connections(self, source: str, number: int) -> None:
        self._associations.labels(source).set(number)

    def show_ready(self, source: str, *, is_ready: bool) -> None:
        self._ready.labels(source).set(is_ready)

    def show_step(self) -> None:
        self._stepped.set(time.time())


def serve(settings: Settings, metrics: Metrics) -> None:
    """Serve in a thread; nothing if it is switched off. Raises OSError if the port is taken."""
    if settings.node_metrics_port:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        start_http_server(settings.node_metrics_port, settings.metrics_host, metrics.registry)
