"""What a reader gets next: the first images of the list that nobody else has open."""

from datetime import datetime

from sqlalchemy.orm import Session

from queries import worklist_page
from queries.worklist_page import Filters, Viewer
from shared.base.settings import Settings

AHEAD = 3
"""So many images are fetched before their turn."""
CANDIDATES = 20
"""Of so many, one is taken (`actions/leases.py`): as many readers may ask in one moment, and each gets another one."""


def find(
    session: Session,
    settings: Settings,
    filters: Filters,
    viewer: Viewer,
    now: datetime,
    *,
    after: int | None = None,
    limit: int = AHEAD,
) -> list[int]:
    """The sightings behind `after`, in the order of the list; behind its end, it begins anew."""

    def part(after: int | None, limit: int) -> list[int]:
        asked = worklist_page.page(session, settings, filters, viewer, now, after=after, limit=limit, free=True)
        return list(asked.sightings)

    found = part(after, limit)
    if len(found) < limit and after is not None:
        found += [number for number in part(None, limit + 1) if number not in found and number != after]
    return found[:limit]
