"""Whether the system is only just starting, so that nobody is called for what is not there yet."""

from datetime import UTC, datetime, timedelta

from shared.base.home import announcement
from shared.base.settings import Settings

STARTING = timedelta(minutes=2)
"""For so long after `up` began, its worker may still be loading its libraries and its model."""


def age_of_up(settings: Settings, now: datetime) -> timedelta | None:
    """How long ago an `up` began that runs in this home, if it may still be starting."""
    try:
        began = datetime.fromtimestamp(announcement(settings.home).stat().st_mtime, UTC)
    except OSError:
        return None
    age = now - began
    return age if abs(age) < STARTING else None  # a clock that was set back must not have it start for ever
