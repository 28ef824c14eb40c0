"""One image as a reader sees it: before the word nothing that the model or another reader says, after it everything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from queries.worklist import is_read_blind, reason
from queries.worklist_page import Viewer
from queries.worklist_rows import drawn_contents
from shared.base.errors import WorkFailed
from shared.base.settings import Settings
from shared.database import (
    DicomHeader,
    DrawMember,
    OperatingPoint,
    Prediction,
    ReadingItem,
    ReadingLease,
    Review,
    Role,
    Screening,
    Sighting,
    SightingState,
    WaitsFor,
    WebSession,
)
from shared.database.views import RESULTS
from shared.ledger.latest import IS_RESULT, is_newest
from shared.ledger.reading_list import NEAR

MAX_EARLIER = 8


@dataclass(frozen=True)
class Answer:
    """What the system says of an image. Probabilities are between 0 and 1."""

    prediction: int
    label: str
    probability: float
    threshold: float
    version: str
    why: str
    is_near: bool
    is_unfamiliar: bool
    is_outside_population: bool
    operating_point: int | None
    is_provisional: bool

    @property
    def is_calibrated(self) -> bool:
        """Without an operating point of the source's own, the probability is no percentage that anybody has checked."""
        return self.operating_point is not None


@dataclass(frozen=True)
class SaidWord:
    """A word that stands; `reader` is None where a senior is to decide without knowing who said what."""

    review: int
    reader: str | None
    label: str
    at: datetime
    note: str | None
    other_finding: bool
    is_mine: bool
    is_after_model: bool
    disagreement: str | None


@dataclass(frozen=True)
class Earlier:
    """An earlier image of the same patient, and the word that counts on it."""

    sighting: int
    seen_at: datetime
    word: str | None
    rule: str | None


@dataclass(frozen=True)
class ReadingImage:
    """`answer`, `previous` and `words` are None and empty until this reader may see them."""

    sighting: int
    sha256: str | None
    source: str
    path: str
    lane: str | None
    seen_at: datetime
    state: str
    state_reason: str | None
    prediction: int | None  # of the result that stands now: a word is on this one
    accession_number: str | None
    study_uid: str | None
    decoded_with: str | None  # what was assumed about the file's header
    is_outside_population: bool
    waits_for: WaitsFor | None
    is_drawn: bool
    draw: int | None  # the newest draw in which it is
    is_blind: bool  # for this reader, at this moment
    has_word: bool  # this reader's, which stands
    has_seen: bool  # this reader gave a word, also one that was taken back, and was told the answer then
    answer: Answer | None
    previous: Answer | None  # the result before this one, where another version or a later decoder says otherwise
    has_changed: bool  # this result is newer than this reader's word
    words: Sequence[SaidWord]
    mine: Sequence[SaidWord]
    counts: tuple[str, str] | None  # the word that counts and its rule, once this reader has a word
    earlier: Sequence[Earlier]
    reading_now: str | None  # another reader, who has it open
    newer: int | None  # the sighting that took this one's place: the file was replaced


def load(session: Session, settings: Settings, sighting: int, viewer: Viewer, now: datetime) -> ReadingImage:
    """Raises WorkFailed for a number that no image has."""
    row = session.execute(
        select(Sighting, Screening, Prediction, DicomHeader, OperatingPoint.is_provisional)
        .add_columns(ReadingItem.waits_for, ReadingLease.reader, ReadingLease.until)
        .outerjoin(Screening, IS_RESULT)
        .outerjoin(Prediction, Prediction.id == Screening.prediction_id)
        .outerjoin(DicomHeader, DicomHeader.sha256 == Sighting.sha256)
        .outerjoin(OperatingPoint, OperatingPoint.id == Screening.operating_point_id)
        .outerjoin(ReadingItem, ReadingItem.sighting_id == Sighting.id)
        .outerjoin(ReadingLease, ReadingLease.sha256 == Sighting.sha256)
        .where(Sighting.id == sighting)
    ).one_or_none()
    if row is None:
        raise _no_image(sighting)
    image, screening, prediction, header, is_provisional, next_word, reader, until = row
    is_drawn = bool(image.sha256 and drawn_contents(session, {image.sha256}))
    words = _words(session, image, viewer)
    mine = [word for word in words if word.is_mine]
    waits_for = WaitsFor(next_word) if next_word else None
    is_blind = not mine and is_read_blind(settings, image.source, waits_for, is_drawn=is_drawn)
    decides = viewer.role is Role.SENIOR and waits_for is WaitsFor.SENIOR and not mine
    answer = None
    if screening is not None and not is_blind and not is_drawn:
        answer = _answer(screening, prediction, is_provisional=bool(is_provisional))
    previous = _previous(session, image) if answer is not None else None
    seen = [] if not mine and not decides else words
    is_taken = until is not None and until > now and reader != viewer.name
    return ReadingImage(
        sighting=image.id,
        sha256=image.sha256,
        source=image.source,
        path=image.path,
        lane=image.lane,
        seen_at=image.seen_at,
        state=image.state,
        state_reason=image.reason,
        prediction=image.prediction_id,
        accession_number=header.accession_number if header else None,
        study_uid=header.study_uid if header else None,
        decoded_with=prediction.decoded_with if prediction else None,
        is_outside_population=bool(prediction and prediction.outside_population),
        waits_for=waits_for,
        is_drawn=is_drawn,
        draw=_draw(session, image.sha256),
        is_blind=is_blind,
        has_word=bool(mine),
        has_seen=not is_drawn and (bool(mine) or _has_said(session, image, viewer)),
        answer=answer,
        previous=previous,
        has_changed=previous is not None and bool(mine) and screening.created_at > mine[-1].at,
        words=[_without_name(word) for word in seen] if decides else seen,
        mine=mine,
        counts=_counting(session, image) if mine else None,
        earlier=_earlier(session, image, header.patient_key if header else None),
        reading_now=reader if is_taken else None,
        newer=_newer(session, image),
    )


def content(session: Session, sighting: int) -> str | None:
    """The SHA-256 of an image's bytes, None until they were read; raises WorkFailed for a number that no image has."""
    row = session.execute(select(Sighting.sha256).where(Sighting.id == sighting)).one_or_none()
    if row is None:
        raise _no_image(sighting)
    return row[0]


def _no_image(sighting: int) -> WorkFailed:
    return WorkFailed(f"There is no image {sighting}: it was erased, or the number is mistyped.")


def _has_said(session: Session, image: Sighting, viewer: Viewer) -> bool:
    said = exists().where(Review.sha256 == image.sha256, Review.reviewer == viewer.name)
    return image.sha256 is not None and session.scalar(select(said)) is True


def _answer(screening: Screening, prediction: Prediction, *, is_provisional: bool) -> Answer:
    figures = (screening.probability, screening.threshold, screening.label)
    return Answer(
        prediction=prediction.id,
        label=screening.label,
        probability=screening.probability,
        threshold=screening.threshold,
        version=prediction.model_version,
        why=reason(*figures, unfamiliar=bool(screening.unfamiliar)),
        is_near=abs(screening.probability - screening.threshold) <= NEAR,
        is_unfamiliar=bool(screening.unfamiliar),
        is_outside_population=bool(prediction.outside_population),
        operating_point=screening.operating_point_id,
        is_provisional=is_provisional,
    )


def _previous(session: Session, image: Sighting) -> Answer | None:
    """Of earlier results, the newest: a result is never overwritten."""
    row = session.execute(
        select(Screening, Prediction, OperatingPoint.is_provisional)
        .join(Prediction, Prediction.id == Screening.prediction_id)
        .outerjoin(OperatingPoint, OperatingPoint.id == Screening.operating_point_id)
        .where(Screening.sighting_id == image.id, Screening.prediction_id != image.prediction_id)
        .order_by(Screening.created_at.desc(), Screening.prediction_id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _answer(row[0], row[1], is_provisional=bool(row[2]))


def _words(session: Session, image: Sighting, viewer: Viewer) -> list[SaidWord]:
    if image.sha256 is None:
        about = Review.sighting_id == image.id
    else:
        about = (Review.sha256 == image.sha256) | (Review.sighting_id == image.id)
    rows = session.scalars(
        select(Review).where(about, Review.withdrawn_at.is_(None)).order_by(Review.created_at, Review.id)
    )
    return [
        SaidWord(
            review=row.id,
            reader=row.reviewer,
            label=row.label,
            at=row.created_at,
            note=row.note,
            other_finding=bool(row.other_finding),
            is_mine=row.reviewer == viewer.name,
            is_after_model=bool(row.after_model),
            disagreement=row.disagreement,
        )
        for row in rows
    ]


def _counting(session: Session, image: Sighting) -> tuple[str, str] | None:
    columns = (RESULTS.c.reviewed_word, RESULTS.c.reviewed_rule)
    row = session.execute(select(*columns).where(RESULTS.c.sighting_id == image.id)).one_or_none()
    return (row[0], row[1]) if row is not None and row[0] is not None else None


def _without_name(word: SaidWord) -> SaidWord:
    return word if word.is_mine else replace(word, reader=None)


def _draw(session: Session, sha256: str | None) -> int | None:
    return session.scalar(select(func.max(DrawMember.draw_id)).where(DrawMember.sha256 == sha256)) if sha256 else None


def _earlier(session: Session, image: Sighting, patient: str | None) -> list[Earlier]:
    """By the keyed hash of the patient's id, which not every image has."""
    if patient is None:
        return []
    others = (
        select(Sighting.id)
        .join(DicomHeader, DicomHeader.sha256 == Sighting.sha256)
        .where(DicomHeader.patient_key == patient, Sighting.id != image.id, Sighting.sha256 != image.sha256)
        .where(Sighting.seen_at <= image.seen_at, Sighting.state == SightingState.DONE, is_newest())
        .order_by(Sighting.seen_at.desc(), Sighting.id.desc())
        .limit(MAX_EARLIER)
    )
    numbers = list(session.scalars(others))
    if not numbers:
        return []
    columns = (RESULTS.c.sighting_id, RESULTS.c.seen_at, RESULTS.c.reviewed_word, RESULTS.c.reviewed_rule)
    rows = {
        row[0]: Earlier(*row) for row in session.execute(select(*columns).where(RESULTS.c.sighting_id.in_(numbers)))
    }
    return [rows[number] for number in numbers if number in rows]


def _newer(session: Session, image: Sighting) -> int | None:
    same = (Sighting.source == image.source) & (Sighting.path == image.path) & (Sighting.id > image.id)
    return session.scalar(select(func.max(Sighting.id)).where(same, Sighting.state != SightingState.SUPERSEDED))


def logged_in_at(session: Session, web_session: int) -> datetime | None:
    """When this log-in was: words that are older need a reason to be taken back."""
    return session.scalar(select(WebSession.created_at).where(WebSession.id == web_session))
