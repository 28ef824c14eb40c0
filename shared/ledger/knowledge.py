"""Which files are new, and which may be others at the same revision: what a source found, beside what the ledger knows.

A file is known while the newest sighting of its path has its revision. Hints stand beside the revision: they are
compared with those of the same host alone, and a changed one asks for a check, which reads the file.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import ColumnElement, case, exists, select
from sqlalchemy.orm import Session

from shared.base import host
from shared.base.found import Found
from shared.database import OPEN_JOB, Job, Resolution, Sighting, SightingState
from shared.ledger.latest import is_newest

MAX_CHECKS = 3
"""After so many checks that found nothing new, a sighting's hints are taken for made up, and not compared any more."""
MAX_RETURNS = 2
"""A revision that has come back so often, with one size and content, is how another host sees the file's time."""


@dataclass(frozen=True)
class Compared:
    """What is to be done about the files of a source; the others are known as they are."""

    new: dict[Found, int] = field(default_factory=dict)
    """Each with the count of checks that its sighting begins with."""
    to_check: dict[int, Found] = field(default_factory=dict)
    """By the sighting that may tell of another content."""


class Seen(NamedTuple):
    text: str  # the path, as rows hold it
    file: Found


def compare(session: Session, source: str, files: Sequence[Seen]) -> Compared:
    """Of at most MAX_ROWS files, those that are new, and those that are to be checked.

    A file that was removed and is back is new: it may not have been read before.
    """
    hint = case((_is_comparable(), Sighting.hint)).label("hint")
    newest = select(Sighting.path, Sighting.revision, hint).where(_is_at(source, files), _tells_of_a_file())
    known = {path: (revision, hint) for path, revision, hint in session.execute(newest)}
    compared = Compared()
    moved: list[Seen] = []
    doubtful: list[Seen] = []
    for image in files:
        revision, hint_then = known.get(image.text, (None, None))
        if revision is None:
            compared.new[image.file] = 0
        elif revision != image.file.revision:
            moved.append(image)
        elif None not in (hint_then, image.file.hint) and hint_then != image.file.hint:
            doubtful.append(image)
    if moved:
        returned = _returned(session, source, moved, {text: revision for text, (revision, _) in known.items()})
        compared.new.update((file, 0) for text, file in moved if text not in returned)
    if doubtful:
        _doubt(session, source, doubtful, compared)
    return compared


def _doubt(session: Session, source: str, doubtful: Sequence[Seen], compared: Compared) -> None:
    """Where the content is not known, the file is read anew; where a check is under way already, that is enough."""
    is_under_way = exists().where(OPEN_JOB, Job.is_check, Job.sighting_id == Sighting.id)
    columns = (Sighting.path, Sighting.id, Sighting.sha256, Sighting.checks, is_under_way)
    rows = session.execute(select(*columns).where(_is_at(source, doubtful), _tells_of_a_file()))
    files = dict(doubtful)
    for text, sighting, content, checks, has_check in rows:
        if content is None:
            compared.new[files[text]] = checks + 1  # or a killer with a made-up hint would be read for ever
        elif not has_check:
            compared.to_check[sighting] = files[text]


def _returned(session: Session, source: str, moved: Sequence[Seen], newest: dict[str, str]) -> set[str]:
    """Paths whose file changes to and fro between two revisions, but for its time: two hosts see that differently.

    Else each would take the other's revision for a change, without end.
    """
    revisions = {image.file.revision for image in moved} | {newest[image.text] for image in moved}
    columns = (Sighting.path, Sighting.revision, Sighting.size, Sighting.sha256)
    seen: dict[tuple[str, str], list[tuple[int, str | None]]] = defaultdict(list)
    for path, revision, size, content in session.execute(
        select(*columns).where(_is_at(source, moved), Sighting.revision.in_(revisions))
    ):
        seen[path, revision].append((size, content))
    returned = set()
    for text, file in moved:
        here, there = seen[text, file.revision], seen[text, newest[text]]
        sizes = {size for size, _ in here + there}
        contents = {content for _, content in here + there if content}
        if len(here) >= MAX_RETURNS and sizes == {file.size} and len(contents) <= 1:
            returned.add(text)
    return returned


def _is_at(source: str, files: Sequence[Seen]) -> ColumnElement[bool]:
    return (Sighting.source == source) & Sighting.path.in_([image.text for image in files])


def _tells_of_a_file() -> ColumnElement[bool]:
    return is_newest() & Sighting.resolution.is_distinct_from(Resolution.REMOVED)


def _is_comparable() -> ColumnElement[bool]:
    """Whether a sighting's hint says something here. What waits is read anyway."""
    is_ours = (Sighting.hint_host == host.identity()) & (Sighting.checks < MAX_CHECKS)
    return is_ours & (Sighting.state != SightingState.WAITING)
