"""Which images a person means by a name: a path, ROOT/PATH, or what `screen` copied the file from."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from shared.database import Sighting


def known_sources(session: Session) -> Sequence[str]:
    """The folders that rows tell of, whether or not they are watched still."""
    return session.scalars(select(Sighting.source).distinct()).all()


def bearing(names: AbstractSet[str], sources: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """Conditions that together find the sightings with one of these names: one per source and one for origins.

    Apart, each can use its index.
    """
    for source in sources:
        yield (Sighting.source == source) & Sighting.path.in_(
            names | {name.removeprefix(f"{source}/") for name in names}
        )
    yield Sighting.origin.in_(names)
