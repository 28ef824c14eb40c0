"""Folders by name: those of the settings, and those that rows still tell of."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.database import Sighting
from shared.errors import WrongSettings
from shared.settings import Settings


def check_root(settings: Settings, session: Session, root: str | None) -> None:
    """Raises WrongSettings for a name that no folder has or had."""
    if root is None or root in settings.roots:
        return
    known = sorted({*settings.roots, *session.scalars(select(Sighting.root).distinct())})
    if root not in known:
        raise WrongSettings(f"There is no folder named {root!r}; there are: {', '.join(known)}.")
