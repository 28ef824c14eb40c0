"""The Celery application that `celery -A worker.app` finds: builds the object, opens nothing."""

from typing import Any

from celery import Celery

from shared.base import settings
from shared.queue import broker

app = Celery("pneumoscreen")


@app.add_defaults
def configuration() -> dict[str, Any]:
    """Evaluated when Celery first needs a setting, not on import."""
    return broker.configuration(settings.load())
