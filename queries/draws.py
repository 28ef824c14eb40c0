"""What is to be read of a draw: numbers and paths, and nothing that the model said."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from shared.base.errors import InvalidRequest
from shared.database import Draw, DrawMember, Sighting
from shared.ledger import words
from shared.ledger.latest import is_newest


@dataclass(frozen=True)
class Entry:
    number: int
    path: str


@dataclass(frozen=True)
class ReadingList:
    draw: int
    source: str
    images: int
    entries: Sequence[Entry]
    read: int
    """Images on which somebody has given a blind word, those included who could not tell."""
    gone: int
    """Images that no file of the source has any more: they stay unread."""


def reading_list(session: Session, draw: int | None, source: str | None = None, *, unread: bool = False) -> ReadingList:
    """The images of a draw (None: the newest, of the source if one is given), each by the path where it lies now.

    Raises InvalidRequest for a draw that there is not.
    """
    row = _find(session, draw, source)
    path = func.min(Sighting.path)
    is_here = (Sighting.source == row.source) & is_newest()
    rows = session.execute(
        select(DrawMember.number, path)
        .join(Sighting, Sighting.sha256 == DrawMember.sha256)
        .where(DrawMember.draw_id == row.id, is_here)
        .group_by(DrawMember.number)
        .order_by(DrawMember.number)
    ).all()
    drawn = words.words_of_draw(session, row.id)
    read = {word.number for word in drawn if word.readers}
    entries = [Entry(number, path) for number, path in rows if not (unread and number in read)]
    return ReadingList(row.id, row.source, len(drawn), entries, len(read), len(drawn) - len(rows))


def newest_with(session: Session, sighting: int) -> int | None:
    """The newest draw that a sighting's image is in."""
    is_same = (Sighting.id == sighting) & (Sighting.sha256 == DrawMember.sha256)
    return session.scalar(select(func.max(DrawMember.draw_id)).join(Sighting, is_same))


def _find(session: Session, draw: int | None, source: str | None) -> Draw:
    query = select(Draw).order_by(Draw.id.desc()).limit(1)
    if draw is not None:
        query = query.where(Draw.id == draw)
    if source is not None:
        query = query.where(Draw.source == source)
    row = session.scalars(query).first()
    if row is None:
        which = "no draw" if draw is None else f"no draw {draw}"
        of_source = "" if source is None else f" of the source {source!r}"
        is_any = session.scalar(select(exists(select(Draw.id))))
        way = "" if is_any and draw is not None else ": `pneumoscreen calibrate draw --source NAME --by NAME` makes one"
        raise InvalidRequest(f"there is {which}{of_source}{way}")
    return row
