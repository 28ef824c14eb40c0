"""Plain Celery as its first page shows it: a task for each image, which reads, classifies and writes a row.

A worker with Celery's defaults: a process for each core, each with its own network, four messages ahead for each.
`celery -A bench.per_image worker` is what runs; the row goes into a SQLite table.
"""

import math
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

from bench import script
from bench.servers import RedisServer
from bench.system import IDLE_SECONDS, START_SECONDS, end, steady
from shared.base.errors import WorkFailed
from shared.imaging import Limits, prepare
from shared.models import manifest, registry
from shared.models.engines import KERAS_FILE

app = Celery("per_image", broker=os.environ.get("BENCH_BROKER"))
app.conf.update(task_ignore_result=True, worker_proc_alive_timeout=120)  # loading takes longer than the default of 4 s
_logit: Callable[[Path], float] | None = None


@worker_process_init.connect
def start(**_: Any) -> None:
    global _logit  # as in every such script
    _logit = _as_a_worker() if os.environ["BENCH_KIND"] == "worker" else _as_a_script()


def _as_a_script() -> Callable[[Path], float]:
    """Keras's model called on one image, which is faster than `predict`, and Pillow as everybody uses it."""
    import keras

    model = registry.bundled()
    network = keras.saving.load_model(model / KERAS_FILE, compile=False)
    preprocessing = manifest.read(model).preprocessing
    return lambda path: float(network(script.pixels(path, preprocessing), training=False)[0, 0])


def _as_a_worker() -> Callable[[Path], float]:
    """The product's decoder and engine: what is left is the price of a task for each image."""
    loaded = registry.load_bundled("auto")
    preprocessing = loaded.manifest.preprocessing
    return lambda path: float(loaded.network.logits(prepare(path.read_bytes(), preprocessing, Limits())[None])[0])


@app.task
def screen(path: str) -> None:
    assert _logit is not None
    probability = 1 / (1 + math.exp(-_logit(Path(path))))
    with sqlite3.connect(os.environ["BENCH_DATABASE"], timeout=60) as connection:
        row = (path, probability, "PNEUMONIA" if probability >= 0.5 else "NORMAL", time.time())
        connection.execute("INSERT INTO results VALUES (?, ?, ?, ?)", row)
    connection.close()


def measure(files: Path, work: Path, server: str, kind: str = "script") -> dict[str, float]:
    """`server` is a redis-server's path, `kind` is script or worker. All tasks are sent before it waits for rows."""
    work.mkdir(parents=True)
    paths = sorted(files.iterdir())
    with sqlite3.connect(work / "results.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE results (path TEXT, probability REAL, label TEXT, finished_at REAL)")
    redis = RedisServer(server)
    environment = {
        **os.environ,
        "BENCH_BROKER": redis.url,
        "BENCH_KIND": kind,
        "BENCH_DATABASE": str(work / "results.db"),
    }
    command = [sys.executable, "-m", "celery", "-A", "bench.per_image", "worker"]
    with (work / "worker.out").open("w") as output:
        worker = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        app.conf.broker_url = redis.url
        deadline = time.monotonic() + START_SECONDS
        while not app.control.ping(timeout=1):
            if worker.poll() is not None or time.monotonic() > deadline:
                raise WorkFailed(f"Celery did not start: {(work / 'worker.out').read_text()[-2000:]}")
        for path in paths:
            screen.delay(str(path))
        finished: list[float] = []
        last_progress = time.monotonic()
        while len(finished) < len(paths):
            time.sleep(0.5)
            times = [row[0] for row in connection.execute("SELECT finished_at FROM results ORDER BY finished_at")]
            if len(times) > len(finished):
                finished, last_progress = times, time.monotonic()
            if time.monotonic() - last_progress > IDLE_SECONDS:
                raise WorkFailed(f"Celery stopped after {len(finished)} of {len(paths)} images.")
    finally:
        connection.close()
        end(worker)
        redis.close()
    return {"images_per_second": steady(finished)}
