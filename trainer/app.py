"""The Celery application of the trainer service: its own queue, and a tick every minute that decides from SQL."""

from typing import Any

from celery import Celery

from shared.base import settings
from shared.queue import broker

QUEUE = "pneumoscreen.trainer"
TICK = "pneumoscreen.training_tick"
TRAIN = "pneumoscreen.train"
TICK_SECONDS = 60.0

app = Celery("pneumoscreen.trainer")


@app.add_defaults
def configuration() -> dict[str, Any]:
    """Evaluated when Celery first needs a setting, not on import."""
    options = {"queue": QUEUE, "expires": TICK_SECONDS}  # a tick that comes late is worthless
    return {
        **broker.configuration(settings.load()),
        "task_default_queue": QUEUE,
        "imports": ["trainer.tasks"],
        "worker_concurrency": 2,  # so that ticks go on while one of them trains
        "beat_schedule": {"tick": {"task": TICK, "schedule": TICK_SECONDS, "options": options}},
    }
