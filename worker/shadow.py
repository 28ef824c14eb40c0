"""A second version scores part of the images, after their results were committed: it holds up and fails nothing.

A thread of its own reads the files again, scores them and writes `shadow_scores`. What it has no room or time for is
left out and counted. Its failures become a log line, a metric, and the worker's remark in `status`.
"""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel, ImageError
from shared.base.settings import Settings
from shared.database import Database
from shared.imaging import Limits, Preprocessing, prepare
from shared.ledger import shadows
from shared.ledger.shadows import Score
from shared.ledger.work import Outcome, Screened
from shared.models import registry
from shared.models.registry import Loaded, Published
from shared.sources import Source
from worker.failures import describe_transient
from worker.metrics import Metrics
from worker.models import RETRY_SECONDS, Models, PlaceTaken
from worker.shadow_marks import Marks

log = logging.getLogger(__name__)
MAX_WAITING = 256
"""Images that wait for their score; more are left out, so that a slow version fills no memory."""
IDLE_SECONDS = 0.5
SLOW_SECONDS = 60.0
"""For how long `status` says so after an image was left out for lack of time."""


@dataclass(frozen=True)
class Run:
    number: int
    version: Published
    source: str
    share: float


Offered = tuple[Run, Screened]


class Shadow:
    def __init__(
        self,
        settings: Settings,
        database: Database,
        sources: Mapping[str, Source],
        models: Models,
        metrics: Metrics,
    ) -> None:
        self._settings, self._database, self._sources = settings, database, sources
        self._models, self._metrics = models, metrics
        self._runs: tuple[Run, ...] = ()
        self._marks = Marks(settings.home)
        self._deadly: dict[Published, str] = {}
        self._waiting: queue.Queue[Offered] = queue.Queue(MAX_WAITING)
        self._problem: str | None = None
        self._retry_at = 0.0
        self._slow_at: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)

    @property
    def error(self) -> str | None:
        """What is wrong, while there is a version in shadow."""
        runs, slow_at, deadly = self._runs, self._slow_at, self._deadly
        if deadly:
            return next(iter(deadly.values()))
        if not runs or self._problem is not None:
            return self._problem
        if slow_at is not None and time.monotonic() - slow_at < SLOW_SECONDS:
            name = runs[0].version.version
            return (
                f"the version {name} in shadow is slower than its share of the images, and leaves some out: "
                f"`pneumoscreen models shadow {name} --source {runs[0].source} --end`, and begin it with a smaller "
                "--share. Screening goes on as ever"
            )
        return None

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Waits no longer than this for what is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=seconds)
        self.absolve()

    def absolve(self) -> None:
        """The process is about to end for another reason than the version in shadow."""
        self._marks.remove()

    def refresh(self) -> None:
        """Learn which runs are open; whatever fails, screening is not told."""
        try:
            with self._database.read() as session:
                self._runs = tuple(
                    Run(run.id, registry.published(session, run.model_version), run.source, run.share)
                    for run in shadows.open_runs(session)
                )
        except Exception as error:  # noqa: BLE001 - see above
            self._fail(f"it is not known whether a version is in shadow: {describe_transient(error) or repr(error)}")
            return
        self._find_deadly()
        if not self._runs:
            self._problem = None

    def _find_deadly(self) -> None:
        """A version that ended a process of this host is left alone until its run ends."""
        dead = self._marks.of_the_dead({run.number for run in self._runs})
        before = self._deadly
        self._deadly = {run.version: _left_alone(run) for run in self._runs if run.number in dead}
        for version in self._deadly.keys() - before.keys():
            log.error("%s", self._deadly[version])
            self._metrics.shadow_failures.inc()

    def offer(self, outcomes: Sequence[Outcome]) -> None:
        """Note what a run's share has of these outcomes, which are committed; never waits, and never raises."""
        if not self._runs:
            return
        try:
            for offered in self._chosen(outcomes):
                try:
                    self._waiting.put_nowait(offered)
                except queue.Full:
                    self._leave_out_for_time()
        except Exception:
            log.exception("images for the version in shadow could not be chosen")

    def _chosen(self, outcomes: Sequence[Outcome]) -> Iterator[Offered]:
        """Images that the live version screened; what a rescreen asks of a named one is no traffic."""
        for outcome in outcomes:
            if not isinstance(outcome, Screened) or outcome.claimed.model_version is not None:
                continue
            for run in self._runs:
                is_its = run.source == outcome.claimed.source and run.version.version != outcome.model_version
                if is_its and shadows.is_chosen(run.number, run.share, outcome.sha256):
                    yield run, outcome

    def _leave_out_for_time(self) -> None:
        now = time.monotonic()
        if self._slow_at is None or now - self._slow_at > SLOW_SECONDS:
            log.warning("the version in shadow is slower than its share of the images: some are left out")
        self._slow_at = now
        self._metrics.shadow_left_out.inc()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                batch = self._take()
                if not batch:
                    if not self._runs:
                        self._models.drop_shadow()
                    continue
                began = time.monotonic()
                for run, offered in groupby(batch, key=lambda each: each[0]):
                    self._score(run, [outcome for _, outcome in offered])
                # It rests as long as it worked: screening has the processor for at least half of the time.
                self._stopping.wait(time.monotonic() - began)
            except Exception:
                log.exception("the thread of the version in shadow goes on after an error")
                self._stopping.wait(RETRY_SECONDS)

    def _take(self) -> list[Offered]:
        batch: list[Offered] = []
        try:
            batch.append(self._waiting.get(timeout=IDLE_SECONDS))
            while len(batch) < self._settings.batch_size:
                batch.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return sorted(batch, key=lambda each: each[0].number)

    def _score(self, run: Run, outcomes: Sequence[Screened]) -> None:
        """Score images and write the scores; those of a run that has ended meanwhile are left out."""
        name, written = run.version.version, 0
        if run in self._runs and run.version not in self._deadly and time.monotonic() >= self._retry_at:
            try:
                with self._marks.held(run.number), self._models.shadow(run.version) as loaded:
                    scores = self._answers(loaded, outcomes)
                with self._database.write() as session:
                    written = shadows.add_scores(session, run.number, scores, datetime.now(UTC))
                self._problem = None
            except PlaceTaken:
                log.info("%d images are left out by the version in shadow: a rescreen has its place", len(outcomes))
            except BrokenModel as error:
                self._retry_at = time.monotonic() + RETRY_SECONDS
                self._fail(f"the version {name} in shadow cannot be used: {error}. Screening goes on as ever")
            except Exception as error:
                self._retry_at = time.monotonic() + RETRY_SECONDS
                problem = describe_transient(error)
                if problem is None:
                    log.exception("the version in shadow failed")
                self._fail(
                    f"the version {name} in shadow failed: {problem or type(error).__name__}. Screening goes on as ever"
                )
        self._metrics.shadow_scored.inc(written)
        self._metrics.shadow_left_out.inc(len(outcomes) - written)

    def _fail(self, problem: str) -> None:
        if problem != self._problem:
            log.error("%s", problem)
        self._problem = problem
        self._metrics.shadow_failures.inc()

    def _answers(self, loaded: Loaded, outcomes: Sequence[Screened]) -> list[Score]:
        """What a version says of images whose content is still there."""
        found, manifest = [], loaded.manifest
        for outcome in outcomes:
            pixels = self._read(outcome, manifest.preprocessing)
            if pixels is not None:
                found.append((outcome, pixels))
        if not found:
            return []
        logits = loaded.network.logits(np.stack([pixels for _, pixels in found]))
        scores = []
        for (outcome, _), logit in zip(found, logits.tolist(), strict=True):
            if not np.isfinite(logit):
                raise BrokenModel("its answer to an image is not a number")
            probability = manifest.calibration.probability(logit)
            label = manifest.label(probability)
            scores.append(
                Score(outcome.claimed.sighting, outcome.sha256, logit, probability, manifest.threshold, label)
            )
        return scores

    def _read(self, outcome: Screened, preprocessing: Preprocessing) -> NDArray[np.uint8] | None:
        """The pixels as this version takes them; None where the file is gone, or another one by now."""
        source, claimed = self._sources.get(outcome.claimed.source), outcome.claimed
        if source is None:
            return None
        limits = Limits.of(self._settings)
        try:
            data = source.read(claimed.path, claimed.revision, limits)
            is_same = hashlib.sha256(data).hexdigest() == outcome.sha256
            return prepare(data, preprocessing, limits) if is_same else None
        except (ImageError, OSError):
            return None


def _left_alone(run: Run) -> str:
    name = run.version.version
    return (
        f"a process ended while the version {name} in shadow was loaded or run, as where memory does not suffice, and "
        "so it is left alone on this host. Screening goes on as ever. To try it again: "
        f"`pneumoscreen models shadow {name} --source {run.source} --end`, and begin it anew"
    )
