"""Which images a person means by a name: a path, ROOT/PATH, or what `screen` copied the file from."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from shared.database import Sighting
from shared.settings import SUBMITTED


def known_roots(session: Session) -> Sequence[str]:
    """The folders that rows tell of, whether or not they are watched still."""
    return session.scalars(select(Sighting.root).distinct()).all()


def bearing(names: AbstractSet[str], roots: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """Conditions that together find the sightings with one of these names: apart, as the index begins with the root."""
    for root in roots:
        yield (Sighting.root == root) & Sighting.path.in_(names | {name.removeprefix(f"{root}/") for name in names})
    yield (Sighting.root == SUBMITTED) & Sighting.origin.in_(names)
