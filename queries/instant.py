"""A date or time as people give it."""

from datetime import UTC, datetime

from shared.base.errors import InvalidRequest


def instant(given: str, name: str) -> datetime:
    """In UTC, which is also meant where no zone is given; raises InvalidRequest, which says what has the `name`."""
    try:
        when = datetime.fromisoformat(given)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"{name} must be a date or time such as 2026-01-31 or 2026-01-31T08:00, not {given!r}."
        ) from error
