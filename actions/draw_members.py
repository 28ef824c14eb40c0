"""Which image of a draw a reader means: by its number, its path, or both."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Draw, DrawMember, Sighting
from shared.ledger import lookup
from shared.ledger.lookup import Key
from shared.ledger.register import as_text


def find_draw(session: Session, number: int) -> Draw:
    """Raises InvalidRequest for one that there is not."""
    draw = session.get(Draw, number)
    if draw is None:
        last = session.scalar(select(Draw.id).order_by(Draw.id.desc()).limit(1))
        known = f"the newest is {last}" if last else "there is none yet: `pneumoscreen calibrate draw` makes one"
        raise InvalidRequest(f"there is no draw {number}; {known}")
    return draw


@dataclass(frozen=True)
class Member:
    number: int
    sha256: str
    sighting_id: int  # the newest one of this content in the draw's source


@dataclass(frozen=True)
class DrawMembers:
    draw: int
    count: int
    by_number: Mapping[int, Member]
    by_name: Mapping[Key, Mapping[str, set[int]]]
    """The numbers of the images that a path, a sighting or a content means."""

    @classmethod
    def load(cls, session: Session, draw: int) -> "DrawMembers":
        """Those that are on record still. An image has the path of each of its copies in the source.

        Raises InvalidRequest for a draw that there is not.
        """
        source = find_draw(session, draw).source
        columns = (DrawMember.number, Sighting.id, Sighting.path, Sighting.sha256)
        rows = session.execute(
            select(*columns)
            .join(Sighting, (Sighting.sha256 == DrawMember.sha256) & (Sighting.source == source))
            .where(DrawMember.draw_id == draw)
            .order_by(Sighting.id)
        )
        members: dict[int, Member] = {}
        names: dict[Key, dict[str, set[int]]] = {key: defaultdict(set) for key in Key}
        for number, sighting, path, content in rows:
            members[number] = Member(number, str(content), sighting)
            names[Key.CONTENT][str(content)].add(number)
            names[Key.SIGHTING][str(sighting)].add(number)
            for form in lookup.forms_of({path, f"{source}/{path}"}):
                names[Key.PATH][form].add(number)
        count = session.scalar(select(func.count()).where(DrawMember.draw_id == draw)) or 0
        return cls(draw, count, members, names)

    def find(self, name: str, keys: Collection[Key], number: int | None) -> Member:
        """Raises WorkFailed for what is no image of the draw, or where number and name are of two images."""
        if number is not None and number not in self.by_number:
            is_gone = ": its rows were deleted" if 1 <= number <= self.count else f", which has 1 to {self.count}"
            raise WorkFailed(f"number {number} is not of draw {self.draw}{is_gone}")
        named = self._named(name, keys)
        if number is None:
            if not named:
                raise WorkFailed(f"{name!r} is not of draw {self.draw}")
            if len(named) > 1:
                raise WorkFailed(f"{name!r} is {len(named)} images of draw {self.draw}: give the number as well")
            return self.by_number[min(named)]
        if name and number not in named:
            is_other = f"number {min(named)}" if named else "no image of it"
            raise WorkFailed(
                f"{name!r} is not number {number} of draw {self.draw}, but {is_other}: were lines shifted?"
            )
        return self.by_number[number]

    def _named(self, name: str, keys: Collection[Key]) -> set[int]:
        text = as_text(name)[0]
        for key in (key for key in Key if key in keys):
            wanted = text.lower() if key is Key.CONTENT else text
            if found := self.by_name[key].get(wanted):
                return found
        return set()
