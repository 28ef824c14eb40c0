"""What Prometheus reads of a worker: its processes measure, their parent adds up and serves.

The processes write into files below PROMETHEUS_MULTIPROC_DIR, which `pneumoscreen worker` sets; without it they measure
for themselves alone and nothing is served.
"""

import logging
import os
import threading
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    mmap_dict,
    multiprocess,
    start_http_server,
)

from shared.base.settings import Settings
from shared.ledger.work import Checked, Outcome, PutOff, Quarantined, Refused, Screened, Superseded
from shared.models.manifest import Label
from shared.sources import Source
from worker.metrics_folder import FOLDER

log = logging.getLogger(__name__)
STATES = {
    Screened: "done",
    Quarantined: "quarantined",
    Superseded: "superseded",
    PutOff: "put_off",
    Checked: "checked",
    Refused: "refused",
}
REMOVED = "removed"  # quarantined, but it needs nobody
STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CLIENT: Any = multiprocess  # has no types
VALUES: Any = mmap_dict.MmapedDict
THE_DEAD = 0
"""The number under which the counts of processes that are gone are kept; no process has it."""


class Metrics:
    """What one worker process measures. Made after the fork, for it opens files where the parent serves them."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._images = Counter(
            "pneumoscreen_images",
            "Images that came to an end here; put_off: tried again later; removed: gone before it was read; "
            "checked: read again, since the file may have been another one; refused: its rescreen named a version that "
            "may write no results. The label is empty unless done.",
            ["state", "label"],
            registry=registry,
        )
        stages = Histogram(
            "pneumoscreen_stage_seconds",
            "Seconds of each stage that succeeded: read and decode for each image, infer and commit for each batch, "
            "claim for each message.",
            ["stage"],
            buckets=STAGE_SECONDS,
            registry=registry,
        )
        self.claim, self.read, self.decode, self.infer, self.commit = (
            stages.labels(stage) for stage in ("claim", "read", "decode", "infer", "commit")
        )
        self.batch = Histogram(
            "pneumoscreen_batch_size", "Images in a forward batch.", buckets=BATCH_IMAGES, registry=registry
        )
        self.in_hand = Gauge(
            "pneumoscreen_images_in_hand",
            "Images that were claimed and are not finished yet.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._model = Gauge(
            "pneumoscreen_model_info",
            "1 for the model version that a process has in service.",
            ["version"],
            multiprocess_mode="liveall",
            registry=registry,
        )
        self._hung = Gauge(
            "pneumoscreen_source_helpers_hung",
            "Processes that a call on the source holds, of those by which this worker's processes read it.",
            ["source"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.load_failures = Counter(
            "pneumoscreen_model_load_failures", "Model versions that did not load, each try.", registry=registry
        )
        self.database_retries = Counter(
            "pneumoscreen_database_retries",
            "Transactions that were tried again because the database was out of reach.",
            registry=registry,
        )
        self._shadow_images = Counter(
            "pneumoscreen_shadow_images",
            "Images of the share of a version in shadow: scored, or left_out since there was no room, no time or no "
            "file for it any more.",
            ["state"],
            registry=registry,
        )
        self.shadow_failures = Counter(
            "pneumoscreen_shadow_failures",
            "How often the version in shadow did not load, did not run, or could not write.",
            registry=registry,
        )
        self.shadow_scored, self.shadow_left_out = map(self._shadow_images.labels, ("scored", "left_out"))
        self._version: str | None = None
        for state in (*STATES.values(), REMOVED):
            for label in get_args(Label) if state == "done" else ("",):
                self._images.labels(state, label)  # from 0 on, or the first image of a kind would count for no rate

    def show_sources(self, sources: Mapping[str, Source]) -> None:
        for name, source in sources.items():
            self._hung.labels(name).set(source.hung)

    def count(self, outcomes: Sequence[Outcome]) -> None:
        """Outcomes that counted: once a batch, not once an image."""
        kinds = Tally((_state(o), o.label if isinstance(o, Screened) else "") for o in outcomes)
        for (state, label), number in kinds.items():
            self._images.labels(state, label).inc(number)

    def show_version(self, version: str | None) -> None:
        """The version that is in service from now on; the one before it is set to 0, which is never served."""
        if self._version is not None:
            self._model.labels(self._version).set(0)
        if version is not None:
            self._model.labels(version).set(1)
        self._version = version


def _state(outcome: Outcome) -> str:
    return REMOVED if isinstance(outcome, Quarantined) and outcome.is_removed else STATES[type(outcome)]


class Processes:
    """A collector that adds up what the worker's processes wrote. Counts of those that died are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # each scrape has a thread of its own

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            for pid in sorted(_pids(self._folder)):
                if pid != THE_DEAD and not _is_ours(pid):
                    self._bury(pid)
            # A process that was killed just as it made its file leaves an empty one.
            files = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
            metrics: Iterable[Metric] = CLIENT.MultiProcessCollector.merge(files, accumulate=True)
        for metric in metrics:
            if metric.name == "pneumoscreen_model_info":
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric

    def _bury(self, pid: int) -> None:
        """Drop what a dead process held, and add its counts to those of the dead: no file is left for each death."""
        CLIENT.mark_process_dead(pid, str(self._folder))
        for kind in ("counter", "histogram"):
            file = self._folder / f"{kind}_{pid}.db"
            if not file.exists():
                continue
            if file.stat().st_size:
                total = VALUES(str(self._folder / f"{kind}_{THE_DEAD}.db"))
                for key, value, timestamp, _ in VALUES.read_all_values_from_file(str(file)):
                    total.write_value(key, total.read_value(key)[0] + value, timestamp)
                total.close()
            file.unlink()


def _pids(folder: Path) -> set[int]:
    return {int(file.stem.rpartition("_")[2]) for file in folder.glob("*.db")}


def _is_ours(pid: int) -> bool:
    """Whether it is this process or a child of it, and alive: the number alone may be another program's by now."""
    try:
        process = psutil.Process(pid)
        return pid == os.getpid() or (process.ppid() == os.getpid() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def serve(settings: Settings) -> None:
    """Serve what the processes wrote, from their parent and before it forks; nothing if it is switched off."""
    folder = os.environ.get(FOLDER)
    if not settings.worker_metrics_port or not folder:
        return
    registry = CollectorRegistry()
    registry.register(Processes(Path(folder)))
    try:
        server, _ = start_http_server(settings.worker_metrics_port, settings.metrics_host, registry)
    except OSError as error:  # taken since `pneumoscreen worker` looked: screening goes on
        log.error("metrics cannot be served on port %d: %s", settings.worker_metrics_port, error)  # noqa: TRY400
        return
    os.register_at_fork(after_in_child=server.socket.close)  # or a child that outlives its parent keeps the port
