"""Rows that stand before an operating point: a random draw, predictions of its images, and words on them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from shared.database import Database, Draw, DrawMember, OperatingPoint, Prediction, Review
from tests.unit.steps import NOW


def digest(number: int) -> str:
    return f"{number:016x}".ljust(64, "0")  # a version tells of the first 16 digits


def draw_with_words(
    database: Database,
    logits: Sequence[float],
    labels: Sequence[str | None],
    version: str = "v1",
    source: str = "ward",
    first: int = 0,
) -> int:
    """A draw of as many images, each of a content of its own, numbered from `first`; None: nobody has read it."""
    with database.write() as session:
        draw = Draw(source=source, model_version=version, seed=1, until=NOW, created_by="Ada", created_at=NOW)
        session.add(draw)
        session.flush()
        for number, (logit, label) in enumerate(zip(logits, labels, strict=True), start=1):
            content = digest(first + number)
            prediction = Prediction(
                sha256=content, model_version=version, decoder_revision=1, logit=logit, created_at=NOW
            )
            session.add(prediction)
            session.flush()
            session.add(
                DrawMember(
                    draw_id=draw.id,
                    number=number,
                    sighting_id=number,
                    sha256=content,
                    prediction_id=prediction.id,
                    stratum=0,
                    inclusion=0.5,
                )
            )
            if label is not None:
                session.add(word(content, label, draw.id))
        return draw.id


def word(content: str, label: str, draw: int, reader: str = "Dr. Okafor", at: datetime = NOW) -> Review:
    return Review(
        sha256=content, label=label, reviewer=reader, created_at=at, method="csv", is_blind=True, draw_id=draw
    )


def add_point(
    database: Database,
    source: str = "ward",
    version: str = "v1",
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    threshold: float = 0.5,
    is_applied: bool = True,
    is_provisional: bool = False,
) -> int:
    """A point that was fitted, and is applied unless said otherwise; returns its number."""
    with database.write() as session:
        point = OperatingPoint(
            source=source,
            model_version=version,
            slope=slope,
            intercept=intercept,
            threshold=threshold,
            method="intercept",
            recall_goal=0.95,
            recall_low=0.93 if is_provisional else 0.951,
            words=90,
            positives=60,
            is_provisional=is_provisional,
            figures="{}",
            created_by="Ada",
            created_at=NOW,
            applied_by="Ada" if is_applied else None,
            applied_at=NOW if is_applied else None,
        )
        session.add(point)
        session.flush()
        return point.id


def points(database: Database) -> dict[int, str]:
    """By number: fitted, applied, or why it was retired."""
    with database.read() as session:
        return {
            point.id: str(point.retired_because) if point.retired_at else "applied" if point.applied_at else "fitted"
            for point in session.scalars(select(OperatingPoint))
        }
