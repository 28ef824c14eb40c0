"""The words that count: on the images of a random draw, on audit samples, and as labels to train on.

`shared/database/truth.py` has the rule. Trainer, operating points, gate and accuracy ask here, and nowhere else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import BigInteger, ColumnElement, Select, Subquery, Text, and_, column, func, select, text
from sqlalchemy.orm import Session

from shared.database import AuditSample, DicomHeader, DrawMember, Prediction
from shared.database.truth import BLIND, DRAWN, STANDING, TRAINING, counting_words

ClassLabel = Literal["NORMAL", "PNEUMONIA"]
NEGATIVE, REST = 0, 1
"""Strata of an audit sample: what the system called NORMAL, and the rest."""


@dataclass(frozen=True)
class CountingWord:
    """A drawn image and the word that counts on it; label None where nobody has read it yet, or could tell."""

    number: int  # in its draw; 0 for an audit sample
    sighting_id: int
    sha256: str
    patient: str  # `patient_key` of its DICOM header where that is known, else the sha256: bounds are by patient
    stratum: int
    inclusion: float  # probability of being drawn, above 0, at most 1
    prediction_id: int
    logit: float | None  # raw, of the draw's version
    label: ClassLabel | None
    readers: int = 0  # how many have read it, those included who could not tell


@dataclass(frozen=True)
class AuditWord(CountingWord):
    """With what the system said of the image on the day on which it was drawn."""

    source: str = ""
    model_version: str | None = None
    said: ClassLabel = "NORMAL"
    drawn_at: datetime | None = None


def words_of_draw(session: Session, draw: int) -> list[CountingWord]:
    """Every member of a draw, by number. A blind word that was given for another draw counts here, too."""
    words = _counting(DRAWN, "SELECT m.sha256 FROM draw_members m WHERE m.draw_id = :draw")
    query = (
        _words(DrawMember, words)
        .add_columns(DrawMember.number, DrawMember.stratum)
        .where(DrawMember.draw_id == draw)
        .order_by(DrawMember.number)
    )
    return [
        CountingWord(number=row.number, stratum=row.stratum, **_common(row))
        for row in session.execute(query, {"draw": draw})
    ]


def words_of_audit(
    session: Session, source: str | None, since: datetime | None, until: datetime | None
) -> list[AuditWord]:
    """Every audit sample that was drawn from `since` on and before `until`, the oldest first."""
    words = _counting(BLIND, "SELECT a.sha256 FROM audit_samples a")
    query = (
        _words(AuditSample, words)
        .add_columns(AuditSample.source, AuditSample.label.label("said"), AuditSample.drawn_at)
        .add_columns(Prediction.model_version)
        .where(*_audit_conditions(source, since, until))
        .order_by(AuditSample.drawn_at, AuditSample.sighting_id)
    )
    return [
        AuditWord(
            number=0,
            stratum=NEGATIVE if row.said == "NORMAL" else REST,
            source=row.source,
            model_version=row.model_version,
            said=row.said,
            drawn_at=row.drawn_at,
            **_common(row),
        )
        for row in session.execute(query)
    ]


def labels_that_train(session: Session, newest: int | None = None) -> dict[str, ClassLabel | None]:
    """Of each content with words that may train, the one that counts; None where the readers cannot tell.

    An image of which the label is None is not learned from under any label. Words of older schemas are included, words
    given in sight of the model's answer are not. `newest` is the highest number of a review that is looked at.
    """
    upto = "" if newest is None else f" AND r.id <= {int(newest)}"
    rows = session.execute(text(counting_words(TRAINING + upto)))
    return {row.sha256: cast("ClassLabel | None", row.label) for row in rows}


def labels_of_draws(session: Session, newest: int | None = None) -> dict[str, ClassLabel | None]:
    """The same among the words on random draws, which alone may judge what was trained."""
    upto = "" if newest is None else f" AND r.id <= {int(newest)}"
    rows = session.execute(text(counting_words(DRAWN + upto)))
    return {row.sha256: cast("ClassLabel | None", row.label) for row in rows}


def count_new_labels(session: Session, after: int) -> int:
    """Of how many contents a review with a higher number than `after` may train, audit samples left out."""
    is_class = "r.label IN ('NORMAL', 'PNEUMONIA')"
    is_free = "NOT EXISTS (SELECT 1 FROM audit_samples a WHERE a.sha256 = r.sha256)"
    condition = f"r.id > :after AND {is_class} AND {STANDING} AND {TRAINING} AND {is_free}"
    query = text(f"SELECT count(DISTINCT r.sha256) FROM reviews r WHERE {condition}")  # noqa: S608 - our own text
    return int(session.scalar(query, {"after": after}) or 0)


def _counting(eligible: str, contents: str) -> Subquery:
    statement = text(counting_words(f"{eligible} AND r.sha256 IN ({contents})"))
    columns = (column("sha256", Text), column("label", Text), column("readers", BigInteger))
    return statement.columns(*columns).subquery("counting")


def _words(member: type[DrawMember] | type[AuditSample], words: Subquery) -> Select[Any]:
    """A deleted row's number may be given to a new one: both number and content say which prediction it was."""
    is_prediction = and_(Prediction.id == member.prediction_id, Prediction.sha256 == member.sha256)
    return (
        select(member.sighting_id, member.sha256, member.inclusion, member.prediction_id)
        .add_columns(func.coalesce(DicomHeader.patient_key, member.sha256).label("patient"))
        .add_columns(Prediction.logit, words.c.label.label("word"), func.coalesce(words.c.readers, 0).label("readers"))
        .select_from(member)
        .outerjoin(words, words.c.sha256 == member.sha256)
        .outerjoin(Prediction, is_prediction)
        .outerjoin(DicomHeader, DicomHeader.sha256 == member.sha256)
    )


def _common(row: Any) -> dict[str, Any]:
    names = ("sighting_id", "sha256", "patient", "inclusion", "prediction_id", "logit", "readers")
    return {**{name: getattr(row, name) for name in names}, "label": row.word}


def _audit_conditions(
    source: str | None, since: datetime | None, until: datetime | None
) -> Iterator[ColumnElement[bool]]:
    if source is not None:
        yield AuditSample.source == source
    if since is not None:
        yield AuditSample.drawn_at >= since
    if until is not None:
        yield AuditSample.drawn_at < until
