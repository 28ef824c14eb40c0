"""Which image a person means: by its path, SOURCE/PATH, the path given to `screen`, its `sighting_id`, or its SHA-256.

    images(session, name)     what a command acts on: one image; by a SHA-256 every image with that content
    image(session, name)      where one content is enough (`review`): copies count as one image
    sightings(session, names) everything that many names mean, superseded sightings too

A path counts before a number, and a number before a SHA-256: a file may be called `27`, and then `27` means that file.
An accented letter is one sign or two (Unicode's forms NFC and NFD), which nobody sees: a path is found in both forms,
and as it was given before all.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, FromClause, select
from sqlalchemy.orm import Session

from shared.base.errors import WorkFailed
from shared.database import Sighting, SightingState
from shared.ledger.register import as_text

MAX_DIGITS = 18
"""No `sighting_id` is longer; a longer number would not fit into SQL's integers."""


class Key(StrEnum):
    """What a name may be, in the order in which it is tried."""

    PATH = "path"  # also SOURCE/PATH, and the path that was given to `screen`
    SIGHTING = "sighting_id"
    CONTENT = "sha256"


@dataclass(frozen=True, slots=True)
class Named:
    """A sighting that a name means."""

    id: int
    source: str
    path: str
    origin: str | None
    sha256: str | None
    state: str
    reason: str | None
    resolution: str | None

    @property
    def place(self) -> tuple[str, str]:
        return self.source, self.path

    @property
    def name(self) -> str:
        """The same for all copies that `screen` made of one file."""
        return f"{self.source}/{self.origin or self.path}"


SIGHTINGS = Sighting.__table__
"""Where names are looked up, unless a view is given: who may read the views alone has no right to this table."""


@dataclass(frozen=True, slots=True)
class Meaning:
    key: Key
    sightings: Sequence[Named]  # the newest first, superseded ones too; never empty

    @property
    def images(self) -> list[Named]:
        """The newest sighting of each image that is meant, the newest first. By its number, that sighting itself."""
        newest: dict[str, Named] = {}
        for sighting in self.sightings:
            if sighting.state != SightingState.SUPERSEDED:
                newest.setdefault(sighting.name, sighting)
        return list(newest.values())


def sightings(
    session: Session, names: Collection[str], keys: Collection[Key] = tuple(Key), table: FromClause = SIGHTINGS
) -> dict[str, Meaning]:
    """What each of at most MAX_ROWS names means, where one of the keys fits; a name that means nothing is left out.

    A name is given as the shell gives it or as `results` shows it.
    """
    texts = {name: as_text(name)[0] for name in names}
    meanings: dict[str, Meaning] = {}
    for key in (key for key in Key if key in keys):
        by_text = _LOOKUPS[key](session, table, {text for name, text in texts.items() if name not in meanings})
        for name, text in texts.items():
            if name not in meanings and text in by_text:
                newest_first = sorted(by_text[text], key=lambda sighting: sighting.id, reverse=True)
                meanings[name] = Meaning(key, newest_first)
    return meanings


def images(session: Session, name: str) -> list[Named]:
    """The image that is meant; by a SHA-256 every image with that content. Raises WorkFailed for none or several."""
    return several(name, sightings(session, {name}).get(name))


def image(session: Session, name: str) -> Named:
    """The image that is meant; of copies the newest, since they are one content.

    Raises WorkFailed for none or several.
    """
    return single(name, sightings(session, {name}).get(name))


def several(name: str, meaning: Meaning | None) -> list[Named]:
    """As `images`, where the meaning is known already."""
    found = _found(name, meaning)
    if len(found) > 1 and meaning is not None and meaning.key is not Key.CONTENT:
        raise _ambiguous(name, found)
    return found


def single(name: str, meaning: Meaning | None) -> Named:
    """As `image`, where the meaning is known already."""
    found = _found(name, meaning)
    contents = {sighting.sha256 for sighting in found}
    if len(found) > 1 and (len(contents) > 1 or None in contents):
        raise _ambiguous(name, found)
    return found[0]


def only(name: str, meaning: Meaning | None) -> Named:
    """The one image that is meant, where copies count as several."""
    found = _found(name, meaning)
    if len(found) > 1:
        raise _ambiguous(name, found)
    return found[0]


def known_sources(session: Session, table: FromClause = SIGHTINGS) -> Sequence[str]:
    """The sources that rows tell of, whether or not they are configured still."""
    return session.scalars(select(table.c.source).distinct()).all()


def bearing(
    names: AbstractSet[str], sources: Sequence[str], table: FromClause = SIGHTINGS
) -> Iterator[ColumnElement[bool]]:
    """Conditions that together find the sightings with one of these names: one per source and one for origins.

    Apart, each can use its index.
    """
    names = forms_of(names)
    for source in sources:
        paths = names | {name.removeprefix(f"{source}/") for name in names}
        yield (table.c.source == source) & table.c.path.in_(paths)
    yield table.c.origin.in_(names)


def forms_of(names: AbstractSet[str]) -> set[str]:
    """The names as they are, and in the forms in which systems write them."""
    return {*names, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD") for name in names)}


Found = Mapping[str, Sequence[Named]]


def _by_path(session: Session, table: FromClause, names: set[str]) -> Found:
    if not names:
        return {}
    exact: dict[str, list[Named]] = defaultdict(list)
    alike: dict[str, list[Named]] = defaultdict(list)
    by_form: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_form[unicodedata.normalize("NFC", name)].append(name)
    for row in _rows(session, table, *bearing(names, known_sources(session, table), table)):
        called = {row.path, f"{row.source}/{row.path}", row.origin or row.path}
        for name in names & called:
            exact[name].append(row)
        for form in {unicodedata.normalize("NFC", name) for name in called}:
            for name in by_form[form]:
                alike[name].append(row)
    return alike | exact


def _by_number(session: Session, table: FromClause, names: set[str]) -> Found:
    numbers = {int(name): name for name in names if re.fullmatch(rf"[1-9][0-9]{{0,{MAX_DIGITS - 1}}}", name)}
    return {numbers[row.id]: [row] for row in _rows(session, table, _id(table).in_(numbers))} if numbers else {}


def _by_content(session: Session, table: FromClause, names: set[str]) -> Found:
    contents = {name: name.lower() for name in names if re.fullmatch(r"[0-9a-fA-F]{64}", name)}
    if not contents:
        return {}
    by_content: dict[str, list[Named]] = defaultdict(list)
    for row in _rows(session, table, table.c.sha256.in_(set(contents.values()))):
        by_content[str(row.sha256)].append(row)
    return {name: by_content[content] for name, content in contents.items() if content in by_content}


_LOOKUPS = {Key.PATH: _by_path, Key.SIGHTING: _by_number, Key.CONTENT: _by_content}


def _rows(session: Session, table: FromClause, *conditions: ColumnElement[bool]) -> Collection[Named]:
    """Those that fulfil any of the conditions, once each: the history has a row for each prediction."""
    columns = (_id(table), *(table.c[name] for name in Named.__slots__[1:]))
    rows: dict[int, Named] = {}
    for condition in conditions:
        rows |= {row[0]: Named(*row) for row in session.execute(select(*columns).where(condition))}
    return rows.values()


def _id(table: FromClause) -> ColumnElement[int]:
    return table.c.id if table is SIGHTINGS else table.c.sighting_id


def _found(name: str, meaning: Meaning | None) -> list[Named]:
    found = meaning.images if meaning else []
    if not found:
        raise WorkFailed(no_image(name))
    return found


def no_image(name: str) -> str:
    """The sentence for a name that means nothing."""
    is_content = re.fullmatch(r"[0-9a-fA-F]{64}", name)
    named = f"image with the SHA-256 {name!r}" if is_content else f"image {as_text(name)[0]!r}"
    return f"there is no {named}: `pneumoscreen results` shows those that there are"


def _ambiguous(name: str, found: Sequence[Named]) -> WorkFailed:
    choice = ", ".join(f"{sighting.id} is {sighting.name}" for sighting in found)
    return WorkFailed(f"{as_text(name)[0]!r} stands for several images: name one by its sighting_id ({choice})")
