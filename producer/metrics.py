"""A producer's metrics for Prometheus: counts of what it did, and the state of SQL, broker and disk at each scrape."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, disable_created_metrics, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily
from redis.exceptions import RedisError
from sqlalchemy import func, make_url, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from producer.accuracy_metrics import AccuracyFigures
from producer.source_metrics import SourceFamilies
from queries import backups
from queries.workers import count_complaining, count_live_by_version
from shared import database
from shared.base.lanes import Lane
from shared.base.settings import Settings
from shared.base.source_report import SourceReport, WatchedBy
from shared.database import OPEN_JOB, DeadLetter, Job, JobState, RunState, TrainingRun
from shared.queue import broker

OPEN = (JobState.UNSENT, JobState.SENT, JobState.CLAIMED)
CAUSES = ("lease", "lost_message", "empty_broker")
FRESH_SECONDS = 3.0
"""Scrapes at shorter intervals get the same figures."""
STATEMENT_SECONDS = 3.0


class Metrics:
    """What one producer counts."""

    def __init__(self, settings: Settings) -> None:
        self.registry = registry = CollectorRegistry()
        self._registered = Counter(
            "pneumoscreen_images_registered", "Images registered by this producer.", ["source"], registry=registry
        )
        self._sent = Counter(
            "pneumoscreen_jobs_sent", "Jobs that this producer sent to the broker.", ["lane"], registry=registry
        )
        self._recovered = Counter(
            "pneumoscreen_jobs_recovered",
            "Jobs that are to be sent again, by cause: a lease that ran out, a message that nobody claimed, "
            "a broker that came back empty.",
            ["cause"],
            registry=registry,
        )
        self._ready = Gauge(
            "pneumoscreen_producer_ready",
            "1 if the last step went well; 0 before the first, and while something is out of reach or the disk is low.",
            registry=registry,
        )
        self._stepped = Gauge(
            "pneumoscreen_producer_last_step_timestamp_seconds",
            "When the producer last went through its loop without an error.",
            registry=registry,
        )
        self._away = Gauge(
            "pneumoscreen_source_away",
            "1 while a source that is watched does not answer this producer, or cannot be seen.",
            ["source"],
            registry=registry,
        )
        self._hung = Gauge(
            "pneumoscreen_source_helpers_hung",
            "Processes that a call on the source holds, of those with which this producer looks into it.",
            ["source"],
            registry=registry,
        )
        # Each starts at 0, or the first event would count for no rate.
        for source in settings.sources:
            self._registered.labels(source)
            self._away.labels(source)
            self._hung.labels(source)
        for lane in Lane:
            self._sent.labels(lane)
        for cause in CAUSES:
            self._recovered.labels(cause)

    def count_registered(self, source: str, images: int) -> None:
        if images:
            self._registered.labels(source).inc(images)

    def count_sent(self, lane: Lane, jobs: int) -> None:
        self._sent.labels(lane).inc(jobs)

    def count_recovered(self, cause: str, jobs: int) -> None:
        """`cause` is one of CAUSES."""
        if jobs:
            self._recovered.labels(cause).inc(jobs)

    def show_source(self, source: str, report: SourceReport) -> None:
        self._away.labels(source).set(report.watched_by is WatchedBy.NOTHING)
        self._hung.labels(source).set(report.hung)

    def show_step(self, *, is_ready: bool) -> None:
        self._ready.set(is_ready)
        if is_ready:
            self._stepped.set(time.time())


class Situation:
    """A collector that asks SQL, the broker and the disk; what is out of reach is left out and reported as down."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = database.connect(_impatient(settings.database))
        self._redis = broker.client(settings)
        self._accuracy = AccuracyFigures()
        self._lock = threading.Lock()  # each scrape has a thread of its own
        self._families: list[GaugeMetricFamily] = []
        self._asked_at: float | None = None

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            if self._asked_at is None or time.monotonic() - self._asked_at > FRESH_SECONDS:
                self._families = [*self._ask_database(), *self._ask_broker(), self._look_at_disk()]
                self._asked_at = time.monotonic()
            yield from self._families

    def _ask_database(self) -> list[GaugeMetricFamily]:
        jobs = GaugeMetricFamily(
            "pneumoscreen_jobs", "Jobs that are not finished, in the whole database.", labels=["lane", "state"]
        )
        age = GaugeMetricFamily(
            "pneumoscreen_queue_age_seconds",
            "For how long the oldest job has waited that is not finished.",
            labels=["lane"],
        )
        letters = GaugeMetricFamily("pneumoscreen_dead_letters", "Messages that no worker understood.")
        alive = GaugeMetricFamily(
            "pneumoscreen_workers_alive",
            "Worker processes of all hosts with a fresh heartbeat, by the model version that they hold.",
            labels=["version"],
        )
        complaining = GaugeMetricFamily(
            "pneumoscreen_workers_complaining",
            "Worker processes of all hosts that report an error, such as that their parent hands out no work.",
        )
        trainings = GaugeMetricFamily(
            "pneumoscreen_training_runs", "Training runs ever begun, by what became of them.", labels=["state"]
        )
        trained = GaugeMetricFamily(
            "pneumoscreen_training_last_success_timestamp_seconds",
            "When a training run last ended with a version, whether or not that one passed the gate.",
        )
        of_sources = SourceFamilies()
        backed_up = GaugeMetricFamily(
            "pneumoscreen_backup_last_success_timestamp_seconds",
            "When the last backup was made; 0 where backups are scheduled and there is none yet.",
        )
        of_audit: list[GaugeMetricFamily] = []
        up = GaugeMetricFamily("pneumoscreen_database_up", "1 if the database answered.")
        try:
            with self._database.read() as session:
                self._database.limit(session, STATEMENT_SECONDS)
                now = datetime.now(UTC)
                _add_jobs(session, now, jobs, age)
                _add_workers(session, now, alive)
                complaining.add_metric([], count_complaining(session, now))
                _add_trainings(session, trainings, trained)
                of_sources.add(session, self._settings, now)
                of_audit = self._accuracy.families(session, self._settings, now)
                if (backup := backups.newest(session, backups.MADE)) or self._settings.backup_every:
                    backed_up.add_metric([], backup.at.timestamp() if backup else 0)
                letters.add_metric([], session.scalar(select(func.count()).select_from(DeadLetter)) or 0)
        except SQLAlchemyError:
            for family in (jobs, age, letters, alive, complaining, trainings, trained, backed_up, *of_sources.all):
                family.samples.clear()
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
        finally:
            self._database.close()  # a connection that idles from scrape to scrape may be a dead one
        return [jobs, age, letters, alive, complaining, trainings, trained, backed_up, *of_sources.all, *of_audit, up]

    def _ask_broker(self) -> list[GaugeMetricFamily]:
        messages = GaugeMetricFamily(
            "pneumoscreen_broker_messages", "Messages that wait in the broker.", labels=["lane"]
        )
        up = GaugeMetricFamily("pneumoscreen_broker_up", "1 if the broker answered, and stores what it is given.")
        try:
            for lane, length in broker.lengths(self._redis).items():
                messages.add_metric([lane], length)
            broker.check_writes(self._redis)
        except RedisError:
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
        return [messages, up]

    def _look_at_disk(self) -> GaugeMetricFamily:
        free = GaugeMetricFamily("pneumoscreen_home_free_bytes", "Bytes free on the home folder's disk.")
        with suppress(OSError):  # the home is out of reach: no figure is better than a wrong one
            free.add_metric([], shutil.disk_usage(self._settings.home).free)
        return free


def _add_jobs(session: Session, now: datetime, jobs: GaugeMetricFamily, age: GaugeMetricFamily) -> None:
    """Both from the index of open jobs alone, however many are finished."""
    columns = (Job.lane, Job.state, func.count(), func.min(Job.id))
    rows = session.execute(select(*columns).where(OPEN_JOB).group_by(Job.state, Job.lane)).all()
    first = {lane: min(row[3] for row in rows if row[0] == lane) for lane in {row[0] for row in rows}}
    chosen = select(Job.lane, Job.created_at).where(Job.id.in_(first.values()))
    since = dict(session.execute(chosen).all())
    counts = {(lane, state): count for lane, state, count, _ in rows}
    for lane in Lane:
        for state in OPEN:
            jobs.add_metric([lane, state], counts.get((lane, state), 0))
        age.add_metric([lane], max(0.0, (now - since.get(lane, now)).total_seconds()))


def _add_workers(session: Session, now: datetime, alive: GaugeMetricFamily) -> None:
    for version, count in {
        "": 0,
        **count_live_by_version(session, now),
    }.items():  # with a figure also when no process lives
        alive.add_metric([version], count)


def _add_trainings(session: Session, trainings: GaugeMetricFamily, trained: GaugeMetricFamily) -> None:
    columns = (TrainingRun.state, func.count(), func.max(TrainingRun.finished_at))
    by_state = session.execute(select(*columns).group_by(TrainingRun.state)).all()
    rows = {state: (count, last) for state, count, last in by_state}
    for state in RunState:
        trainings.add_metric([state], rows.get(state, (0, None))[0])
    ends = [last for state, (_, last) in rows.items() if last and state in (RunState.PUBLISHED, RunState.REJECTED)]
    if ends:
        trained.add_metric([], max(ends).timestamp())


def _impatient(url: str) -> str:
    """The database's address with limits shorter than a scrape's, where its driver knows them (libpq's names)."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "postgresql":
        return url
    limits = {"connect_timeout": "3", "tcp_user_timeout": "3000"}
    wanted = {name: value for name, value in limits.items() if name not in parsed.query}
    return parsed.update_query_dict(wanted).render_as_string(hide_password=False)


def serve(settings: Settings, metrics: Metrics) -> None:
    """Serve in a thread; nothing if it is switched off. Raises OSError if the port is taken."""
    if not settings.producer_metrics_port:
        return
    disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics.registry.register(Situation(settings))
    start_http_server(settings.producer_metrics_port, settings.metrics_host, metrics.registry)
