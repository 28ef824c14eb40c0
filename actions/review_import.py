"""Many words at once, from a file: all or none, and the same file a second time adds nothing."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from actions.draw_members import DrawMembers
from actions.reviews import (
    Manner,
    ReviewEntry,
    Target,
    find_drawn,
    find_screened,
    find_target,
    have_seen,
    hold,
    new_row,
    told,
)
from shared.base.errors import WorkFailed
from shared.database import Review, ReviewLabel, audit
from shared.ledger import lookup, reading_list
from shared.ledger.lookup import Key, Meaning
from shared.ledger.register import parts

Word = tuple[ReviewEntry, Target]
Words = dict[tuple[str | int, str], list[Review]]
"""What is on record, by subject and reviewer, the last word last."""
WRITTEN = (
    *("sha256", "sighting_id", "label", "reviewer", "note", "created_at"),
    *("method", "is_blind", "after_model", "is_senior", "draw_id"),
)
"""The columns of a new word."""


@dataclass(frozen=True)
class Imported:
    added: int
    known: int
    after_model: int = 0  # added, but not as blind, since the reader had seen the model's answer before


def import_words(
    session: Session,
    entries: Sequence[tuple[int, ReviewEntry]],
    now: datetime,
    advance: Callable[[int], None] = lambda _: None,
    *,
    manner: Manner,
    refuse: bool = False,
) -> tuple[Imported, dict[int, str]]:
    """Record numbered entries, all or none; the same entries a second time add nothing.

    Returns also what is wrong with which of them: then nothing was recorded. `advance` is told how many were checked;
    `refuse` has them checked and not recorded, since others of the same file are wrong already.
    SQLite lets nobody else write meanwhile, so images are looked up by the thousand.
    """
    wrong: dict[int, str] = {}
    words: list[Word] = []
    members = DrawMembers.load(session, manner.draw) if manner.draw is not None else None
    for part in parts(entries):
        meanings = _meanings(session, [entry for _, entry in part]) if members is None else {}
        screened = find_screened(session, meanings.values())
        for number, entry in part:
            try:
                if members is None:
                    target = find_target(entry, meanings.get((entry.name, entry.keys)), screened)
                else:
                    target = find_drawn(entry, members)
                words.append((entry, target))
            except WorkFailed as error:
                wrong[number] = str(error)
        advance(len(part))
    if wrong or refuse:
        return Imported(0, 0), wrong
    targets = [target for _, target in words]
    hold(session, targets)
    seen = have_seen(session, targets)
    new = _unrecorded(words, _recorded(session, targets, manner), now, manner, seen)
    if new:
        session.execute(insert(Review), [{name: getattr(row, name) for name in WRITTEN} for row in new])
        reading_list.refresh(session, {row.sha256 for row in new if row.sha256})
    how = f" ({told(manner)})" if manner.is_blind else ""
    for reviewer, added in sorted(Counter(row.reviewer for row in new).items()):
        audit.record(session, reviewer, "review", f"{added} images from a file{how}", at=now)
    return Imported(len(new), len(entries) - len(new), sum(bool(row.after_model) for row in new)), {}


def _meanings(session: Session, entries: Sequence[ReviewEntry]) -> dict[tuple[str, tuple[Key, ...]], Meaning]:
    names: dict[tuple[Key, ...], set[str]] = defaultdict(set)
    for entry in entries:
        names[entry.keys].add(entry.name)
    return {
        (name, keys): meaning
        for keys, named in names.items()
        for name, meaning in lookup.sightings(session, named, keys).items()
    }


def _recorded(session: Session, targets: Sequence[Target], manner: Manner) -> Words:
    """Where words are given blind, those that were not are others, whatever they say."""
    recorded: Words = defaultdict(list)
    contents = sorted({str(target.sha256) for target in targets if target.is_content})
    sightings = sorted({target.sighting_id for target in targets if not target.is_content})
    on_sighting = Review.label == ReviewLabel.NOT_READABLE
    queries = [~on_sighting & Review.sha256.in_(part) for part in parts(contents)]
    queries += [on_sighting & Review.sighting_id.in_(part) for part in parts(sightings)]
    if manner.is_blind:
        queries = [query & (Review.is_blind | Review.after_model) for query in queries]
    if manner.draw is not None:
        queries = [query & (Review.draw_id == manner.draw) for query in queries]
    for condition in queries:
        for row in session.scalars(select(Review).where(condition).order_by(Review.created_at, Review.id)):
            subject = row.sighting_id if row.label == ReviewLabel.NOT_READABLE else row.sha256
            recorded[subject or "", row.reviewer].append(row)
    return recorded


def _unrecorded(
    words: Sequence[Word], recorded: Words, now: datetime, manner: Manner, seen: Collection[tuple[str | None, str]]
) -> list[Review]:
    """The words that are not on record, in the order in which they were said, so that the last one counts.

    One with a time is on record if the same was said at that time. Those without a time are if the reviewer's last word
    is the last of them: then the file was imported before, and nobody has changed their mind since.
    """
    new: list[Review] = []

    def add(entry: ReviewEntry, target: Target) -> None:
        new.append(new_row(entry, target, entry.at or now, manner, seen))
        recorded[target.subject, entry.reviewer].append(new[-1])

    for entry, target in sorted((word for word in words if word[0].at), key=lambda word: word[0].at or now):
        earlier = recorded[target.subject, entry.reviewer]
        if not any(_is_same(row, entry) and row.created_at == entry.at for row in earlier):
            add(entry, target)
    for said in recorded.values():
        said.sort(key=lambda row: row.created_at)  # as the views do: the last word is the one that was said last
    timeless = [word for word in words if word[0].at is None]
    for entry, target in _unless_imported_before(timeless, recorded):
        earlier = recorded[target.subject, entry.reviewer]
        if not _is_last(earlier, entry):
            add(entry, target)
    return new


def _unless_imported_before(
    words: Sequence[Word], recorded: Mapping[tuple[str | int, str], list[Review]]
) -> list[Word]:
    last = {(target.subject, entry.reviewer): entry for entry, target in words}
    known = {whose for whose, entry in last.items() if _is_last(recorded.get(whose, ()), entry)}
    return [word for word in words if (word[1].subject, word[0].reviewer) not in known]


def _is_last(earlier: Sequence[Review], entry: ReviewEntry) -> bool:
    """Whether a reader's last word says the same; one that was withdrawn is none."""
    standing = [row for row in earlier if row.withdrawn_at is None]
    return bool(standing) and _is_same(standing[-1], entry)


def _is_same(row: Review, entry: ReviewEntry) -> bool:
    return (row.label, row.note) == (entry.label, entry.note)
