"""The Celery tasks of the trainer service: check whether a run is due, and run it in its own process."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery.signals import setup_logging, worker_init, worker_ready, worker_shutting_down
from sqlalchemy.exc import SQLAlchemyError

from shared import database
from shared.base import logs, settings
from shared.base.settings import Settings
from shared.base.surroundings import python
from shared.database import RunState
from shared.queue import ending
from trainer import leases
from trainer.app import QUEUE, TICK, TRAIN, app
from trainer.leases import Lease

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 10.0
COMMAND = python("trainer.run")
MAX_LEASES = 5
"""Starts after which a run that is killed again is given up: the machine may lack memory for it."""


@worker_init.connect
def prepare(**_: Any) -> None:
    """Runs before Celery sets its handlers of signals."""
    ending.install()


@setup_logging.connect
def log_as_set(**_: Any) -> None:
    logs.configure(settings.load())


@worker_ready.connect
def look_at_once(**_: Any) -> None:
    """Beat's first tick comes a minute after the start: too late for a run that waits to be resumed."""
    app.send_task(TICK, queue=QUEUE)


@worker_shutting_down.connect
def stop_training(**_: Any) -> None:
    """Celery waits for tasks, and a training takes hours: end it. The next start resumes it from its checkpoint."""
    with suppress(OSError, ValueError):
        os.kill(int(_pid_file(settings.load()).read_text()), signal.SIGTERM)


@app.task(name=TICK)
def tick() -> str:
    """Begin or resume a run if one is due."""
    found = settings.load()
    with closing(database.connect(found.database)) as ledger, ledger.write() as session:
        lease = leases.take(session, found, _has_data(found), datetime.now(UTC))
    if lease is None:
        return "nothing is due"
    app.send_task(TRAIN, args=[lease.run, lease.fence, lease.architecture], queue=QUEUE)
    return f"run {lease.run} begins" if lease.fence == 1 else f"run {lease.run} is resumed"


@app.task(name=TRAIN)
def train(run: int, fence: int, architecture: str) -> str:
    """Train in a separate process, which frees its memory and can be killed, and keep the lease meanwhile."""
    found, lease = settings.load(), Lease(run, fence, architecture)
    with closing(database.connect(found.database)) as ledger:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            problem = _run(found, ledger, lease, output)
        if problem is None:
            return f"run {run} has ended"
        if problem:
            with ledger.write() as session:
                leases.end(session, lease, RunState.FAILED, datetime.now(UTC), None, problem)
            return f"run {run} failed: `pneumoscreen status` says why"  # Flower shows this; the reason may name a file
        return f"run {run} was stopped; it is resumed later"


def _run(found: Settings, ledger: database.Database, lease: Lease, output: Any) -> str | None:
    """None if the process ended well, an empty text if it was stopped or killed, else why it failed."""
    if not _is_held(ledger, lease):
        return ""  # the message was delayed: another trainer has taken the run over
    command = [*COMMAND, str(lease.run), str(lease.fence)]
    process = subprocess.Popen(
        command, stdout=sys.stderr, stderr=output, env={**os.environ, "PNEUMOSCREEN_HOME": str(found.home)}
    )
    _pid_file(found).parent.mkdir(parents=True, exist_ok=True)
    _pid_file(found).write_text(str(process.pid))
    is_held = True
    while True:
        try:
            code = process.wait(HEARTBEAT_SECONDS)
            break
        except subprocess.TimeoutExpired:
            is_held = is_held and _is_held(ledger, lease)
            if not is_held:
                process.kill()
    _pid_file(found).unlink(missing_ok=True)
    if code == 0:
        return None
    is_stopped = code == -signal.SIGTERM or not is_held
    is_killed = code < 0 and not is_stopped
    if is_stopped or (is_killed and lease.fence < MAX_LEASES):
        with ledger.write() as session:
            leases.give_back(session, lease)
        if is_killed:
            log.error("the process of run %d was killed (%d): it is resumed", lease.run, -code)
            app.send_task(TICK, queue=QUEUE)  # at once, and not a minute later
        return ""
    if is_killed:
        return f"its process was killed (signal {-code}), start number {lease.fence}: is there enough memory?"
    output.seek(0)
    lines = output.read().strip().splitlines()
    return lines[-1][:500] if lines else f"the process ended with {code}"


def _is_held(ledger: database.Database, lease: Lease) -> bool:
    """Write the run's heartbeat; False if the lease is lost. An unreachable database does not end it."""
    try:
        with ledger.write() as session:
            # A process takes a while to go after it has said its last word.
            return leases.keep(session, lease, datetime.now(UTC)) or leases.has_ended(session, lease)
    except SQLAlchemyError as error:
        log.warning("the run's heartbeat could not be written: %s", error)
        return True


def _has_data(found: Settings) -> bool:
    return found.training_data is not None and found.training_data.is_dir() and any(found.training_data.iterdir())


def _pid_file(found: Settings) -> Path:
    return found.home / "run" / "training.pid"
