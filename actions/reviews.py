"""A reader's word on an image, or many words at once. Nothing is overwritten: the last word counts.

NORMAL, PNEUMONIA and UNCLEAR are words on pixels: they follow the content, under every name, and need content that was
screened. NOT_READABLE is a word on one sighting alone.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Review, ReviewLabel, Screening, Sighting, SightingState, audit
from shared.ledger import lookup
from shared.ledger.latest import IS_RESULT
from shared.ledger.lookup import Key, Meaning, Named
from shared.ledger.register import parts


@dataclass(frozen=True)
class ReviewEntry:
    """What somebody says of an image. `at` is None where it is not known when; `keys` say what the name may be."""

    name: str
    label: ReviewLabel
    reviewer: str
    note: str | None = None
    at: datetime | None = None
    keys: tuple[Key, ...] = tuple(Key)


@dataclass(frozen=True)
class Reviewed:
    entry: ReviewEntry
    sighting_id: int
    model_label: str | None


@dataclass(frozen=True)
class Imported:
    added: int
    known: int


@dataclass(frozen=True)
class Target:
    """What a word is on: a content, or one sighting."""

    sighting_id: int
    sha256: str | None
    is_content: bool

    @property
    def subject(self) -> str | int:
        return str(self.sha256) if self.is_content else self.sighting_id


Word = tuple[ReviewEntry, Target]
Words = dict[tuple[str | int, str], list[Review]]
"""What is on record, by subject and reviewer, the last word last."""


def parse_label(text: str) -> ReviewLabel:
    try:
        return ReviewLabel(text.strip().upper())
    except ValueError:
        raise InvalidRequest(f"a label is {', '.join(ReviewLabel)}, not {text!r}") from None


def review(session: Session, entry: ReviewEntry, now: datetime) -> Reviewed:
    """Record one word; raises WorkFailed for an image that is unknown, ambiguous, or cannot be reviewed so."""
    meaning = lookup.sightings(session, {entry.name}, entry.keys).get(entry.name)
    target = _target(entry, meaning, _screened(session, [meaning] if meaning else []))
    session.add(_row(entry, target, entry.at or now))
    audit.record(session, entry.reviewer, "review", f"sighting {target.sighting_id}: {entry.label}", at=now)
    of_sighting = select(Screening.label).join(Sighting, IS_RESULT)
    return Reviewed(entry, target.sighting_id, session.scalar(of_sighting.where(Sighting.id == target.sighting_id)))


def import_words(
    session: Session,
    entries: Sequence[tuple[int, ReviewEntry]],
    now: datetime,
    advance: Callable[[int], None] = lambda _: None,
    *,
    refuse: bool = False,
) -> tuple[Imported, dict[int, str]]:
    """Record numbered entries, all or none; the same entries a second time add nothing.

    Returns also what is wrong with which of them: then nothing was recorded. `advance` is told how many were checked;
    `refuse` has them checked and not recorded, since others of the same file are wrong already.
    SQLite lets nobody else write meanwhile, so images are looked up by the thousand.
    """
    wrong: dict[int, str] = {}
    words: list[Word] = []
    for part in parts(entries):
        meanings = _meanings(session, [entry for _, entry in part])
        screened = _screened(session, meanings.values())
        for number, entry in part:
            try:
                words.append((entry, _target(entry, meanings.get((entry.name, entry.keys)), screened)))
            except WorkFailed as error:
                wrong[number] = str(error)
        advance(len(part))
    if wrong or refuse:
        return Imported(0, 0), wrong
    new = _unrecorded(words, _recorded(session, [target for _, target in words]), now)
    if new:
        columns = ("sha256", "sighting_id", "label", "reviewer", "note", "created_at")
        session.execute(insert(Review), [{name: getattr(row, name) for name in columns} for row in new])
    for reviewer, added in sorted(Counter(row.reviewer for row in new).items()):
        audit.record(session, reviewer, "review", f"{added} images from a file", at=now)
    return Imported(len(new), len(entries) - len(new)), {}


def _meanings(session: Session, entries: Sequence[ReviewEntry]) -> dict[tuple[str, tuple[Key, ...]], Meaning]:
    names: dict[tuple[Key, ...], set[str]] = defaultdict(set)
    for entry in entries:
        names[entry.keys].add(entry.name)
    return {
        (name, keys): meaning
        for keys, named in names.items()
        for name, meaning in lookup.sightings(session, named, keys).items()
    }


def _screened(session: Session, meanings: Iterable[Meaning]) -> set[str]:
    """Those contents that have a result, of the images that are meant."""
    contents = sorted({image.sha256 for meaning in meanings for image in meaning.images if image.sha256})
    screened: set[str] = set()
    for part in parts(contents):
        screened |= set(
            session.scalars(
                select(Sighting.sha256).where(Sighting.sha256.in_(part), Sighting.prediction_id.is_not(None))
            )
        )
    return screened


def _target(entry: ReviewEntry, meaning: Meaning | None, screened: set[str]) -> Target:
    """Raises WorkFailed where no image, or more than one, is meant, or the word cannot be said of it."""
    if entry.label is ReviewLabel.NOT_READABLE:
        image = lookup.only(entry.name, meaning)
        if image.state == SightingState.WAITING:
            raise _not_read_yet(entry)
        return Target(image.id, image.sha256 if image.sha256 in screened else None, is_content=False)
    image = lookup.single(entry.name, meaning)
    if image.sha256 not in screened:
        raise _not_read_yet(entry) if image.state == SightingState.WAITING else _not_screened(entry, image)
    return Target(image.id, image.sha256, is_content=True)


def _not_read_yet(entry: ReviewEntry) -> WorkFailed:
    return WorkFailed(f"{entry.name!r} was not read yet, so there is nothing to review: wait for its result")


def _not_screened(entry: ReviewEntry, image: Named) -> WorkFailed:
    return WorkFailed(
        f"{entry.name!r} was not screened ({image.reason}), so there are no pixels to review as {entry.label}: "
        "mend that, then `pneumoscreen retry`, or record NOT_READABLE"
    )


def _recorded(session: Session, targets: Sequence[Target]) -> Words:
    recorded: Words = defaultdict(list)
    contents = sorted({str(target.sha256) for target in targets if target.is_content})
    sightings = sorted({target.sighting_id for target in targets if not target.is_content})
    on_sighting = Review.label == ReviewLabel.NOT_READABLE
    queries = [~on_sighting & Review.sha256.in_(part) for part in parts(contents)]
    queries += [on_sighting & Review.sighting_id.in_(part) for part in parts(sightings)]
    for condition in queries:
        for row in session.scalars(select(Review).where(condition).order_by(Review.created_at, Review.id)):
            subject = row.sighting_id if row.label == ReviewLabel.NOT_READABLE else row.sha256
            recorded[subject or "", row.reviewer].append(row)
    return recorded


def _unrecorded(words: Sequence[Word], recorded: Words, now: datetime) -> list[Review]:
    """The words that are not on record, in the order in which they were said, so that the last one counts.

    One with a time is on record if the same was said at that time. Those without a time are if the reviewer's last word
    is the last of them: then the file was imported before, and nobody has changed their mind since.
    """
    new: list[Review] = []

    def add(entry: ReviewEntry, target: Target) -> None:
        new.append(_row(entry, target, entry.at or now))
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
        if not (earlier and _is_same(earlier[-1], entry)):
            add(entry, target)
    return new


def _unless_imported_before(
    words: Sequence[Word], recorded: Mapping[tuple[str | int, str], list[Review]]
) -> list[Word]:
    last = {(target.subject, entry.reviewer): entry for entry, target in words}
    known = {whose for whose, entry in last.items() if recorded.get(whose) and _is_same(recorded[whose][-1], entry)}
    return [word for word in words if (word[1].subject, word[0].reviewer) not in known]


def _is_same(row: Review, entry: ReviewEntry) -> bool:
    return (row.label, row.note) == (entry.label, entry.note)


def _row(entry: ReviewEntry, target: Target, at: datetime) -> Review:
    return Review(
        sha256=target.sha256,
        sighting_id=target.sighting_id,
        label=entry.label,
        reviewer=entry.reviewer,
        note=entry.note,
        created_at=at,
    )
