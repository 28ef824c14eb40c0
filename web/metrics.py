"""The web service's metrics for Prometheus: requests by route, log-ins, pictures. No name and no number of an image."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, start_http_server

from shared.base.settings import Settings

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)
OUTCOMES = ("admitted", "refused")


class Metrics:
    """What this process counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "pneumoscreen_web_requests",
            "Requests that were answered, by the route as the program names it, and the first digit of the status.",
            ["route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "pneumoscreen_web_request_seconds",
            "From a request to the end of its answer.",
            ["route"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._logins = Counter(
            "pneumoscreen_web_logins",
            "Tries to log in by a password, by what came of them; a lock-out is a refusal.",
            ["outcome"],
            registry=registry,
        )
        self._broken = Counter(
            "pneumoscreen_web_picture_processes_failed",
            "Processes that decode pictures and that died, or took too long and were ended.",
            registry=registry,
        )
        self._objects = Counter(
            "pneumoscreen_web_objects",
            "Objects that were sent by STOW-RS, by what became of them.",
            ["source", "outcome"],
            registry=registry,
        )
        for outcome in OUTCOMES:  # each starts at 0, or the first event would count for no rate
            self._logins.labels(outcome)

    def note_request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, f"{status // 100}xx").inc()
        self._seconds.labels(route).observe(seconds)

    def note_login(self, *, is_admitted: bool) -> None:
        self._logins.labels("admitted" if is_admitted else "refused").inc()

    def expect_objects(self, source: str, outcomes: Iterable[str]) -> None:
        """Each starts at 0, or the first one would count for no rate."""
        for outcome in outcomes:
            self._objects.labels(source, outcome)

    def note_object(self, source: str, outcome: str, _stored: int) -> None:
        """`outcome` is one of `node.receiving`'s."""
        self._objects.labels(source, outcome).inc()

    def note_broken_process(self) -> None:
        self._broken.inc()


def serve(settings: Settings, metrics: Metrics) -> None:
    """Serve in a thread; nothing if it is switched off. Raises OSError if the port is taken."""
    if not settings.web_metrics_port:
        return
    disable_created_metrics()  # type: ignore[no-untyped-call]
    start_http_server(settings.web_metrics_port, settings.metrics_host, metrics.registry)
