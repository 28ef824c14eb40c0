"""What versions said of images: predictions by content, and screenings, which are what people read, by sighting."""

from collections.abc import Collection, Sequence
from datetime import datetime
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy import Table, bindparam, exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from shared.database import Prediction, Screening, Sighting, SightingState
from shared.ledger.latest import IS_RESULT
from shared.ledger.register import insert_new

if TYPE_CHECKING:
    from shared.ledger.work import Screened

SAME_ANSWER = 0.01
"""Logits that differ by less are those of one picture: other hardware or another batch moves them by about 0.001."""
UNSYNCHRONIZED = {"synchronize_session": False}


class Said(NamedTuple):
    """What a prediction means for a sighting."""

    probability: float
    threshold: float
    label: str
    unfamiliar: bool | None


class _Stored(NamedTuple):
    number: int
    is_new: bool


FIGURES = (Screening.probability, Screening.threshold, Screening.label, Screening.unfamiliar)


def write(session: Session, screened: Sequence["Screened"], now: datetime) -> None:
    """Make outcomes their sightings' results, but for those that are the same as before and were asked for only if not.

    Predictions and screenings that exist stay as they are, so that a probability once read never changes.
    """
    screened = [outcome for outcome in screened if not (outcome.claimed.if_differs and _is_confirmed(session, outcome))]
    if not screened:
        return
    stored = _predictions(session, screened, now)
    earlier = said_of(session, {outcome.sha256 for outcome in screened if not stored[_key(outcome)].is_new})
    results = {}
    for outcome in screened:
        prediction, mine = stored[_key(outcome)].number, _said(outcome)
        results[outcome.claimed.sighting] = prediction, earlier.get((prediction, mine.threshold), mine)
    add(session, results, now)
    table = cast(Table, Sighting.__table__)
    session.connection().execute(
        update(table)
        .where(table.c.id == bindparam("sighting"))
        .values(
            state=SightingState.DONE,
            sha256=bindparam("digest"),
            prediction_id=bindparam("prediction"),
            reason=None,
            finished_at=now,
        ),
        [{"sighting": o.claimed.sighting, "digest": o.sha256, "prediction": stored[_key(o)].number} for o in screened],
    )


def add(session: Session, results: dict[int, tuple[int, Said]], now: datetime) -> None:
    """Add screenings, by sighting: the prediction's number, and what it means there."""
    rows = [
        {"sighting_id": sighting, "prediction_id": prediction, **said._asdict(), "created_at": now}
        for sighting, (prediction, said) in results.items()
    ]
    # Row by row in the driver: of many rows in one statement, SQLAlchemy would compile each anew.
    session.connection().execute(insert_new(session, Screening.__table__), rows)


def said_of(session: Session, contents: Collection[str]) -> dict[tuple[int, float], Said]:
    """What was said of at most MAX_ROWS contents, by the prediction's number and the threshold."""
    if not contents:
        return {}
    of_contents = select(Screening.prediction_id, *FIGURES).join(Sighting, Sighting.id == Screening.sighting_id)
    rows = session.execute(of_contents.where(Sighting.sha256.in_(contents)))
    return {(row[0], row[2]): Said(*row[1:]) for row in rows}


def _predictions(session: Session, screened: Sequence["Screened"], now: datetime) -> dict[Any, _Stored]:
    """Add the predictions that are not there yet."""
    rows = {
        _key(s): {
            "sha256": s.sha256,
            "model_version": s.model_version,
            "decoder_revision": s.decoder_revision,
            "decoded_with": s.decoded_with,
            "logit": s.logit,
            "unfamiliar_score": s.unfamiliar_score,
            "outside_population": s.outside_population,
            "created_at": now,
        }
        for s in screened
    }
    session.connection().execute(insert_new(session, Prediction.__table__), list(rows.values()))
    columns = (Prediction.sha256, Prediction.model_version, Prediction.decoder_revision)
    found = session.execute(
        select(*columns, Prediction.id, Prediction.created_at).where(
            Prediction.sha256.in_({s.sha256 for s in screened})
        )
    )
    return {tuple(key): _Stored(number, created_at == now) for *key, number, created_at in found}


def _key(outcome: "Screened") -> tuple[str, str, int]:
    return outcome.sha256, outcome.model_version, outcome.decoder_revision


def _said(outcome: "Screened") -> Said:
    return Said(outcome.probability, outcome.threshold, outcome.label, outcome.unfamiliar)


def _is_confirmed(session: Session, outcome: "Screened") -> bool:
    """Whether the sighting's result stands: where the answer is the same, the prediction is of this decoder, too."""
    columns = (Prediction.id, Prediction.sha256, Prediction.model_version, Prediction.decoder_revision)
    row = session.execute(
        select(*columns, Screening.probability, Screening.label)
        .join(Sighting, IS_RESULT)
        .join(Prediction, Prediction.id == Screening.prediction_id)
        .where(Sighting.id == outcome.claimed.sighting)
    ).one_or_none()
    if row is not None and row.model_version != outcome.model_version:
        return True  # another version's rescreen came first
    if row is None or (row.sha256, row.label) != (outcome.sha256, outcome.label):
        return False
    if abs(_log_odds(row.probability) - _log_odds(outcome.probability)) > SAME_ANSWER:
        return False
    if row.decoder_revision >= outcome.decoder_revision:
        return True
    other = aliased(Prediction)
    same = (other.sha256 == outcome.sha256) & (other.model_version == outcome.model_version)
    is_there = exists().where(same, other.decoder_revision == outcome.decoder_revision)
    rise = update(Prediction).where(Prediction.id == row.id, ~is_there)
    values = {"decoder_revision": outcome.decoder_revision, "decoded_with": outcome.decoded_with}
    try:
        with session.begin_nested():
            risen = session.execute(rise.values(values).returning(Prediction.id), execution_options=UNSYNCHRONIZED)
            return bool(risen.all())
    except IntegrityError:  # another worker wrote this decoder's prediction meanwhile: it becomes the result
        return False


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-9), 1 - 1e-9)
    return log(bounded / (1 - bounded))
