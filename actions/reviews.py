"""A reader's word on an image. Nothing is overwritten; `shared/ledger/words.py` says which word counts.

`review_import` records many at once.

NORMAL, PNEUMONIA and UNCLEAR are words on pixels: they follow the content, under every name, and need content that was
screened. NOT_READABLE is a word on one sighting alone.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from actions.draw_members import DrawMembers
from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Review, ReviewLabel, ReviewMethod, Screening, Sighting, SightingState, audit
from shared.ledger import lookup, reading_list, retention
from shared.ledger.latest import IS_RESULT
from shared.ledger.lookup import Key, Meaning, Named
from shared.ledger.register import parts


@dataclass(frozen=True)
class ReviewEntry:
    """What somebody says of an image. `at` is None where it is not known when; `keys` say what the name may be.

    `number` is the image's in a draw; then the name may be empty, and else must mean the same image.
    """

    name: str
    label: ReviewLabel
    reviewer: str
    note: str | None = None
    at: datetime | None = None
    keys: tuple[Key, ...] = tuple(Key)
    number: int | None = None


@dataclass(frozen=True)
class Manner:
    """How words are given. For a draw, they are on its images alone."""

    method: ReviewMethod = ReviewMethod.CLI
    is_blind: bool = False
    draw: int | None = None
    seniors: Collection[str] = ()


@dataclass(frozen=True)
class Reviewed:
    entry: ReviewEntry
    sighting_id: int
    model_label: str | None
    is_blind: bool
    after_model: bool  # the model's answer had been shown to this reader before, so that no word of theirs is blind


@dataclass(frozen=True)
class Target:
    """What a word is on: a content, or one sighting."""

    sighting_id: int
    sha256: str | None
    is_content: bool

    @property
    def subject(self) -> str | int:
        return str(self.sha256) if self.is_content else self.sighting_id


def parse_label(text: str) -> ReviewLabel:
    try:
        return ReviewLabel(text.strip().upper())
    except ValueError:
        raise InvalidRequest(f"a label is {', '.join(ReviewLabel)}, not {text!r}") from None


def review(session: Session, entry: ReviewEntry, now: datetime, manner: Manner = Manner()) -> Reviewed:
    """Record one word; raises WorkFailed for an image that is unknown, ambiguous, or cannot be reviewed so."""
    if manner.draw is not None:
        target = find_drawn(entry, DrawMembers.load(session, manner.draw))
    else:
        meaning = lookup.sightings(session, {entry.name}, entry.keys).get(entry.name)
        target = find_target(entry, meaning, find_screened(session, [meaning] if meaning else []))
    hold(session, [target])
    row = new_row(entry, target, entry.at or now, manner, have_seen(session, [target]))
    session.add(row)
    reading_list.refresh(session, {target.sha256} if target.sha256 else set())
    how = f" ({told(manner)})" if manner.is_blind else ""
    audit.record(session, entry.reviewer, "review", f"sighting {target.sighting_id}: {entry.label}{how}", at=now)
    of_sighting = select(Screening.label).join(Sighting, IS_RESULT)
    label = session.scalar(of_sighting.where(Sighting.id == target.sighting_id))
    return Reviewed(entry, target.sighting_id, label, bool(row.is_blind), bool(row.after_model))


def hold(session: Session, targets: Iterable[Target]) -> None:
    """Keep images until the transaction ends; raises WorkFailed where one was erased since it was looked up."""
    targets = list(targets)
    wanted = {target.sighting_id for target in targets}
    if gone := len(wanted - retention.hold_sightings(session, wanted)):
        raise WorkFailed(f"nothing was recorded, since {gone} of the images were erased just now: say it again")
    reading_list.hold(session, {target.sha256 for target in targets if target.sha256})


def told(manner: Manner) -> str:
    return "blind" if manner.draw is None else f"blind, draw {manner.draw}"


def find_drawn(entry: ReviewEntry, members: DrawMembers) -> Target:
    """Raises WorkFailed where the image is none of the draw."""
    member = members.find(entry.name, entry.keys, entry.number)
    return Target(member.sighting_id, member.sha256, entry.label is not ReviewLabel.NOT_READABLE)


def find_screened(session: Session, meanings: Iterable[Meaning]) -> set[str]:
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


def find_target(entry: ReviewEntry, meaning: Meaning | None, screened: set[str]) -> Target:
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


def have_seen(session: Session, targets: Sequence[Target]) -> set[tuple[str | None, str]]:
    """(content, reader), where an earlier word was not given blind: the model's answer was in sight, or told then.

    Also of a word that was withdrawn since, and of those of older schemas, which nothing is known about.
    """
    seen: set[tuple[str | None, str]] = set()
    is_open = or_(Review.is_blind.is_(None), ~Review.is_blind)
    for part in parts(sorted({target.sha256 for target in targets if target.sha256})):
        rows = session.execute(select(Review.sha256, Review.reviewer).where(Review.sha256.in_(part), is_open))
        seen |= {(content, reader) for content, reader in rows}
    return seen


def new_row(
    entry: ReviewEntry, target: Target, at: datetime, manner: Manner, seen: Collection[tuple[str | None, str]]
) -> Review:
    after_model = (target.sha256, entry.reviewer) in seen
    return Review(
        sha256=target.sha256,
        sighting_id=target.sighting_id,
        label=entry.label,
        reviewer=entry.reviewer,
        note=entry.note,
        created_at=at,
        method=manner.method,
        is_blind=manner.is_blind and not after_model,
        after_model=after_model,
        is_senior=entry.reviewer in manner.seniors,
        draw_id=manner.draw,
    )
