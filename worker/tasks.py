"""The one task, and what a worker process does when it starts and when it ends."""

import logging
import os
import time
from typing import Any

from celery.signals import heartbeat_sent, setup_logging, worker_init, worker_process_init, worker_process_shutdown

from shared.base import logs, settings
from shared.queue import ending
from shared.queue.messages import TASK
from worker import metrics
from worker.app import app
from worker.failures import describe_transient
from worker.process import WorkerProcess
from worker.pulse import Pulse
from worker.screening import screen_message

log = logging.getLogger(__name__)
RESTART_SECONDS = 3.0
_process: WorkerProcess | None = None
_pulse: Pulse | None = None


@worker_init.connect
def prepare(**_: Any) -> None:
    """Runs in the parent, before it forks and before it connects."""
    global _pulse  # Celery has no place of its own for what belongs to a process
    _pulse = Pulse()
    ending.install()
    metrics.serve(settings.load())


@heartbeat_sent.connect
def show_life(**_: Any) -> None:
    """Runs in the parent's loop, every two seconds while it is connected."""
    if _pulse is not None:
        _pulse.beat()


@setup_logging.connect
def log_as_set(**_: Any) -> None:
    """In Celery's place: its own format is no JSON."""
    logs.configure(settings.load())


@worker_process_init.connect
def start(**_: Any) -> None:
    """Runs in the child, after the fork: the parent never touches the database or TensorFlow."""
    global _process  # Celery has no place of its own for what belongs to a process
    try:
        _process = WorkerProcess(settings.load(), _pulse)
    except Exception:  # Celery would go on with a child that can do nothing
        log.exception("this worker process cannot start")
        time.sleep(RESTART_SECONDS)  # it is started anew at once, and this is seldom over by then
        os._exit(1)


@worker_process_shutdown.connect
def stop(**_: Any) -> None:
    if _process is not None:
        _process.stop()


@app.task(name=TASK)
def screen(body: dict[str, Any]) -> str:
    """Screen a message's images; the text that comes back is what Flower shows as the result.

    No exception leaves it: Celery would lose the message or hand it out for ever. What could not even be given back
    is recovered when its lease runs out.
    """
    assert _process is not None
    try:
        return screen_message(_process, body)
    except Exception as error:
        problem = describe_transient(error)
        log.error(  # noqa: TRY400
            "a message could not be screened; its jobs are recovered when their lease runs out: %s",
            problem or repr(error),
            exc_info=problem is None,
        )
        return "failed: see the worker's log"
