"""How signals end a Celery worker: as they end our other programs, see `shared.base.stopping`.

Celery starts itself anew at a hang-up, with a command line that finds nothing, and lets it end the worker amid its
batches at a terminal. A SIGTERM to the whole group, as GNU `timeout` and systemd send it, ends its children so.
"""

import math
import signal
import time
from typing import Any

from celery.apps import worker as celery_worker
from celery.signals import task_postrun, task_prerun, worker_process_init

TELLING_SECONDS = 0.5
"""For so long a child may still be telling its parent that a task is done."""
_is_hangup_ignored = False
_idle_since = 0.0  # in a child, by the monotonic clock; infinite while it has a task in hand


def install() -> None:
    """Called at `worker_init`, in the parent: before Celery sets handlers of its own, and before it forks."""
    global _is_hangup_ignored  # of the process, as its signals are
    _is_hangup_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    install_celerys = celery_worker.Worker.install_platform_tweaks

    def install_ours(self: Any, worker: Any) -> None:
        install_celerys(self, worker)
        if _is_hangup_ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        else:
            celery_worker.install_worker_term_handler(worker, sig="SIGHUP")

    celery_worker.Worker.install_platform_tweaks = install_ours
    worker_process_init.connect(_prepare_child)
    task_prerun.connect(_begin_task)
    task_postrun.connect(_end_task)


def _prepare_child(**_: Any) -> None:
    if _is_hangup_ignored:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _begin_task(**_: Any) -> None:
    """Only here, since billiard sets handlers of its own after `worker_process_init`: they end a child at once."""
    global _idle_since
    _idle_since = math.inf
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def _end_task(**_: Any) -> None:
    global _idle_since
    _idle_since = time.monotonic()


def _leave(*_: object) -> None:
    """End the child if it has nothing in hand, and told the parent so; else look again in a second."""
    if time.monotonic() - _idle_since < TELLING_SECONDS:
        signal.alarm(1)
    else:
        raise SystemExit(0)
