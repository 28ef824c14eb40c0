"""What readers do on the page: say a word, take it back, say why they differ from the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from actions import leases
from actions.reviews import Target, hold
from queries import reading as query
from queries.reading import Answer, ReadingImage
from queries.worklist_page import Viewer
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.settings import Settings
from shared.database import (
    CLASS_LABELS,
    Disagreement,
    Review,
    ReviewLabel,
    ReviewMethod,
    Role,
    Shown,
    SightingState,
    audit,
)
from shared.ledger import reading_list

MAX_NOTE = 2000
MAX_SUBMISSION = 64


@dataclass(frozen=True)
class Word:
    """What a reader says of an image. `prediction` is the result that stood when it was opened, None for none.

    `submission` is the page's own number of the word: sent twice, it is recorded once. `by_filter` says that the list
    was filtered by the model's answer; `is_first`, that the page was opened before this reader's first word.
    """

    sighting: int
    label: ReviewLabel
    submission: str
    prediction: int | None
    note: str | None = None
    other_finding: bool = False
    by_filter: bool = False
    is_first: bool = False


@dataclass(frozen=True)
class Saved:
    """`answer` is None where the reader is not to know it: of a drawn image, which others may be asked about again."""

    review: int
    label: ReviewLabel
    is_blind: bool
    answer: Answer | None
    disagrees: bool
    taken_over_by: str | None  # another reader took the image over meanwhile: both words stand


class ChangedMeanwhile(WorkFailed):
    """The result or the file is another one than the reader has seen; nothing was saved."""

    def __init__(self, image: ReadingImage) -> None:
        if image.newer is not None:
            what = "The file was replaced"
        else:
            what = "You gave a word in another window" if image.has_word else "It was screened anew"
        super().__init__(f"{what} since you opened it, and this word is not saved. Look again, and say it anew.")
        self.image = image


def save(session: Session, settings: Settings, word: Word, viewer: Viewer, now: datetime) -> Saved:
    """Record a word; raises ChangedMeanwhile, or WorkFailed for an image that cannot be judged so."""
    _check(word)
    if (known := _submitted(session, word, viewer)) is not None:
        return _as_saved(session, settings, known, viewer, now)
    image = query.load(session, settings, word.sighting, viewer, now)
    _check_image(word, image)
    is_on_content = word.label is not ReviewLabel.NOT_READABLE
    hold(session, [Target(image.sighting, image.sha256, is_on_content)])
    if (known := _submitted(session, word, viewer)) is not None:  # by a request that ran beside this one
        return _as_saved(session, settings, known, viewer, now)
    shown = _shown(session, image, word, viewer)
    row = Review(
        sha256=image.sha256 if image.prediction is not None else None,
        sighting_id=image.sighting,
        label=word.label,
        reviewer=viewer.name,
        note=word.note or None,
        created_at=now,
        method=ReviewMethod.PAGE,
        is_blind=shown is Shown.BLIND,
        after_model=shown is Shown.REVEALED,
        is_senior=viewer.role is Role.SENIOR,
        draw_id=image.draw if shown is Shown.BLIND else None,
        shown=shown,
        other_finding=word.other_finding,
        submission=word.submission,
    )
    session.add(row)
    session.flush()
    if image.sha256 is not None:
        reading_list.refresh(session, {image.sha256})
        leases.release(session, image.sha256, viewer.name)
    also = ", other finding" if word.other_finding else ""
    audit.record(session, viewer.name, "review", f"sighting {image.sighting}: {word.label}{also} ({shown})", at=now)
    session.flush()
    return _as_saved(session, settings, row, viewer, now, taken_over_by=image.reading_now)


def _check(word: Word) -> None:
    if word.note is not None and len(word.note) > MAX_NOTE:
        raise InvalidRequest(f"A note has at most {MAX_NOTE:,} characters, this one {len(word.note):,}.")
    if not 8 <= len(word.submission) <= MAX_SUBMISSION:
        raise InvalidRequest(f"`submission` is a random text of 8 to {MAX_SUBMISSION} characters, one for each word.")


def _check_image(word: Word, image: ReadingImage) -> None:
    if image.newer is not None or image.prediction != word.prediction or (word.is_first and image.has_word):
        raise ChangedMeanwhile(image)
    if image.state == SightingState.WAITING:
        raise WorkFailed("This image was not screened yet: wait for its result.")
    if image.prediction is None and word.label is not ReviewLabel.NOT_READABLE:
        raise WorkFailed(f"This image was not screened ({image.state_reason}): it can be called not readable, no more.")


def _submitted(session: Session, word: Word, viewer: Viewer) -> Review | None:
    same = (Review.reviewer == viewer.name) & (Review.submission == word.submission)
    return session.scalar(select(Review).where(same))


def _shown(session: Session, image: ReadingImage, word: Word, viewer: Viewer) -> Shown:
    """Also after a word that was withdrawn: the model's answer was shown then."""
    if image.is_drawn:
        return Shown.REVEALED if _has_seen_drawn(session, image, viewer) else Shown.BLIND
    if image.has_seen or word.by_filter:
        return Shown.REVEALED
    return Shown.BLIND if image.is_blind else Shown.ASSISTED


def _has_seen_drawn(session: Session, image: ReadingImage, viewer: Viewer) -> bool:
    """An earlier word of this reader was given in sight of the answer, wherever."""
    is_open = Review.is_blind.is_(None) | ~Review.is_blind
    mine = (Review.sha256 == image.sha256) & (Review.reviewer == viewer.name)
    return image.sha256 is not None and session.scalar(select(exists().where(mine, is_open))) is True


def _as_saved(
    session: Session,
    settings: Settings,
    row: Review,
    viewer: Viewer,
    now: datetime,
    *,
    taken_over_by: str | None = None,
) -> Saved:
    image = query.load(session, settings, row.sighting_id or 0, viewer, now)
    answer = image.answer
    label = ReviewLabel(row.label)
    return Saved(
        review=row.id,
        label=label,
        is_blind=bool(row.is_blind),
        answer=answer,
        disagrees=answer is not None and label in CLASS_LABELS and label != answer.label,
        taken_over_by=taken_over_by,
    )


def undo(
    session: Session, review: int, viewer: Viewer, logged_in_at: datetime | None, reason: str | None, now: datetime
) -> int:
    """Take one word of one's own back; returns the sighting. It stays on record, and counts no more.

    Since the log-in (`logged_in_at`; None: an API token, which has none) it needs no reason, later it does.
    """
    row = session.get(Review, review)
    if row is None or row.reviewer != viewer.name:
        raise WorkFailed("There is no such word of yours: each reader takes back their own.")
    if row.withdrawn_at is not None:
        return row.sighting_id or 0  # asked for twice
    reason = (reason or "").strip() or None
    if reason is None and (logged_in_at is None or row.created_at < logged_in_at):
        raise InvalidRequest("This word is older than your log-in: say why you take it back.")
    contents = {row.sha256} if row.sha256 else set()
    reading_list.hold(session, contents)
    row.withdrawn_at, row.withdrawn_by, row.withdrawn_because = now, viewer.name, reason
    session.flush()
    reading_list.refresh(session, contents)
    audit.record(session, viewer.name, "withdraw", f"sighting {row.sighting_id}: review {row.id}", at=now)
    return row.sighting_id or 0


def explain(session: Session, review: int, viewer: Viewer, why: str, now: datetime) -> None:
    """Say why one's word is another than the model's."""
    if why not in set(Disagreement):
        raise InvalidRequest(f"The reason is one of {', '.join(Disagreement)}, not {why!r}.")
    told = session.scalars(
        update(Review)
        .where(Review.id == review, Review.reviewer == viewer.name, Review.withdrawn_at.is_(None))
        .values(disagreement=why)
        .returning(Review.id)
        .execution_options(synchronize_session=False)
    ).all()
    if not told:
        raise WorkFailed("There is no such word of yours.")
    audit.record(session, viewer.name, "disagreement", f"review {review}: {why}", at=now)


def newest_of(session: Session, viewer: Viewer) -> int | None:
    """This reader's newest word that stands: what undo takes back."""
    mine = (Review.reviewer == viewer.name) & Review.withdrawn_at.is_(None)
    return session.scalar(select(Review.id).where(mine).order_by(Review.id.desc()).limit(1))


def parse_word(values: dict[str, object], sighting: int) -> Word:
    """A word from a form or JSON; raises InvalidRequest."""
    try:
        label = ReviewLabel(str(values.get("label", "")).upper())
    except ValueError:
        labels: Sequence[str] = list(ReviewLabel)
        raise InvalidRequest(f"A label is one of {', '.join(labels)}.") from None
    prediction = values.get("prediction")
    try:
        number = None if prediction in (None, "") else int(str(prediction))
    except ValueError:
        raise InvalidRequest("`prediction` is the number of the result that you have seen.") from None
    note = str(values.get("note") or "").strip()
    return Word(
        sighting=sighting,
        label=label,
        submission=str(values.get("submission") or ""),
        prediction=number,
        note=note or None,
        other_finding=str(values.get("other_finding") or "").lower() in ("1", "true", "on", "yes"),
        by_filter=str(values.get("by_filter") or "").lower() in ("1", "true", "on", "yes"),
        is_first=values.get("is_first") == "1",
    )
