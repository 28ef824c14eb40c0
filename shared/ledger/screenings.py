"""What versions said of images: predictions by content, and screenings, which are what people read, by sighting."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from math import log
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from shared.database import Prediction, Screening, Sighting, SightingState
from shared.ledger.latest import IS_RESULT
from shared.ledger.register import SIGHTINGS, insert_new

if TYPE_CHECKING:
    from shared.ledger.work import Screened

SAME_ANSWER = 0.01
"""Log-odds that differ by less are of one picture: other hardware or another batch moves them by about 0.001."""
UNSYNCHRONIZED = {"synchronize_session": False}

Key = tuple[str, str, int]
"""SHA-256, version, decoder revision: of these there is one prediction."""
Meaning = tuple[int, int | None]
"""A prediction as an operating point reads it (None: as its version does): of these there are one set of figures."""


class Figures(NamedTuple):
    """What a prediction means for a sighting."""

    probability: float
    threshold: float
    label: str
    unfamiliar: bool | None
    operating_point_id: int | None = None


class Known(NamedTuple):
    """A prediction that is in the database, with the figures of its first screening by one operating point."""

    number: int
    figures: Figures


def write(session: Session, screened: Sequence["Screened"], now: datetime) -> dict[int, Known]:
    """Make outcomes their sightings' results, but for those that are the same as before and were asked for only if not.

    Returns the results, by sighting: what stands by now.

    Predictions and screenings that exist stay as they are, so that a probability once read never changes: where the
    version had screened the sighting before, its reading of that day becomes the result again.
    """
    why = {outcome.claimed.sighting: outcome.claimed.override for outcome in screened}
    screened = [outcome for outcome in screened if not (outcome.claimed.if_differs and _stands(session, outcome))]
    if not screened:
        return {}
    stored, new = _add_predictions(session, screened, now)
    before = {(stored[key][0], o.operating_point_id) for o in screened if (key := _key(o)) not in new}
    known = first_figures(session, before) if before else {}
    results: dict[int, Known] = {}
    for outcome in screened:
        number, logit = stored[_key(outcome)]
        mine = Known(number, _figures(outcome, logit))
        first = known.setdefault((number, outcome.operating_point_id), mine)
        # The same bytes have the same figures under each name, where they are judged by the same threshold.
        results[outcome.claimed.sighting] = first if first.figures.threshold == mine.figures.threshold else mine
    add(session, results, now, why)
    before_now = {o.claimed.sighting: results[o.claimed.sighting].number for o in screened if _key(o) not in new}
    results |= standing(session, before_now)
    session.connection().execute(
        update(SIGHTINGS)
        .where(SIGHTINGS.c.id == bindparam("sighting"))
        .values(
            state=SightingState.DONE,
            sha256=bindparam("digest"),
            prediction_id=bindparam("prediction"),
            override=bindparam("why", type_=SIGHTINGS.c.override.type),
            reason=None,
            finished_at=now,
        ),
        [
            {
                "sighting": outcome.claimed.sighting,
                "digest": outcome.sha256,
                "prediction": stored[_key(outcome)][0],
                "why": why[outcome.claimed.sighting],
            }
            for outcome in screened
        ],
    )
    return results


def add(session: Session, results: dict[int, Known], now: datetime, overrides: Mapping[int, str | None]) -> None:
    """Add screenings, by sighting; `overrides` says of which a version that is not in service wrote them, and why."""
    rows = [
        {"sighting_id": sighting, "prediction_id": known.number, **known.figures._asdict(), "created_at": now}
        | {"override": overrides[sighting]}
        for sighting, known in results.items()
    ]
    # Row by row in the driver: of many rows in one statement, SQLAlchemy would compile each anew.
    session.connection().execute(insert_new(session, Screening.__table__), rows)


def standing(session: Session, predictions: Mapping[int, int]) -> dict[int, Known]:
    """By at most MAX_ROWS sightings with a prediction each: what it means for them, where that was written before."""
    if not predictions:
        return {}
    figures = (Screening.probability, Screening.threshold, Screening.label, Screening.unfamiliar)
    rows = session.execute(
        select(Screening.sighting_id, Screening.prediction_id, *figures, Screening.operating_point_id).where(
            Screening.sighting_id.in_(predictions), Screening.prediction_id.in_(set(predictions.values()))
        )
    )
    return {row[0]: Known(row[1], Figures(*row[2:])) for row in rows if predictions[row[0]] == row[1]}


def first_figures(session: Session, meanings: Collection[Meaning]) -> dict[Meaning, Known]:
    """Of at most MAX_ROWS predictions, each as an operating point reads it; those never read by it are left out.

    One query for each point. However many copies of a content there are, those up to the first by the point are
    looked at.
    """
    found: dict[Meaning, Known] = {}
    for point in {point for _, point in meanings}:
        other = aliased(Screening)
        is_first = (other.prediction_id == Prediction.id) & other.operating_point_id.is_not_distinct_from(point)
        first = select(other.sighting_id).where(is_first).order_by(other.sighting_id).limit(1).scalar_subquery()
        figures = (Screening.probability, Screening.threshold, Screening.label, Screening.unfamiliar)
        rows = session.execute(
            select(Prediction.id, *figures)
            .join(Screening, (Screening.prediction_id == Prediction.id) & (Screening.sighting_id == first))
            .where(Prediction.id.in_({number for number, by in meanings if by == point}))
        )
        found |= {(row[0], point): Known(row[0], Figures(*row[1:], point)) for row in rows}
    return found


def _add_predictions(
    session: Session, screened: Sequence["Screened"], now: datetime
) -> tuple[dict[Key, tuple[int, float | None]], set[Key]]:
    """Add those that are not there yet; returns the number and the logit of each, and which were added."""
    rows = {
        _key(s): {
            "sha256": s.sha256,
            "model_version": s.model_version,
            "decoder_revision": s.decoder_revision,
            "decoded_with": s.decoded_with,
            "logit": s.logit,
            "unfamiliar_score": s.unfamiliar_score,
            "outside_population": s.outside_population,
            "evidence": s.evidence,
            "created_at": now,
        }
        for s in reversed(screened)  # of several with one content, the first counts
    }
    session.connection().execute(insert_new(session, Prediction.__table__), list(rows.values()))
    columns = (Prediction.sha256, Prediction.model_version, Prediction.decoder_revision)
    found = session.execute(
        select(*columns, Prediction.id, Prediction.logit, Prediction.created_at).where(
            Prediction.sha256.in_({key[0] for key in rows})
        )
    )
    all_of_them = {(row[0], row[1], row[2]): (row[3], row[4], row[5] == now) for row in found}
    return {key: all_of_them[key][:2] for key in rows}, {key for key in rows if all_of_them[key][2]}


def _key(outcome: "Screened") -> Key:
    return outcome.sha256, outcome.model_version, outcome.decoder_revision


def _figures(outcome: "Screened", logit: float | None) -> Figures:
    """By the logit of the prediction that is there: another batch's differs in its last digits, a label perhaps."""
    probability, label = outcome.probability, outcome.label
    if outcome.read is not None and logit is not None and logit != outcome.logit:
        probability, label = outcome.read(logit)
    return Figures(probability, outcome.threshold, label, outcome.unfamiliar, outcome.operating_point_id)


def _stands(session: Session, outcome: "Screened") -> bool:
    """Whether the sighting's result stays: where the answer is the same, its prediction is of this decoder, too."""
    columns = (Prediction.id, Prediction.sha256, Prediction.model_version, Prediction.decoder_revision)
    row = session.execute(
        select(*columns, Prediction.logit, Screening.probability, Screening.label, Screening.unfamiliar)
        .add_columns(Screening.operating_point_id)
        .select_from(Sighting)
        .join(Screening, IS_RESULT)
        .join(Prediction, Prediction.id == Screening.prediction_id)
        .where(Sighting.id == outcome.claimed.sighting)
        .with_for_update(of=Sighting)  # else another version's result could come in between
    ).one_or_none()
    if row is not None and row.model_version != outcome.model_version:
        return True  # another version's rescreen came first
    if row is None or (row.sha256, row.unfamiliar) != (outcome.sha256, outcome.unfamiliar):
        return False
    if row.operating_point_id != outcome.operating_point_id:
        # The source has another operating point by now, which is no reason to change a result: the picture would be.
        if None in (row.logit, outcome.logit) or abs(row.logit - outcome.logit) > SAME_ANSWER:
            return False
    elif row.label != outcome.label or abs(_log_odds(row.probability) - _log_odds(outcome.probability)) > SAME_ANSWER:
        return False
    return row.decoder_revision >= outcome.decoder_revision or _raise_revision(session, row.id, outcome)


def _raise_revision(session: Session, prediction: int, outcome: "Screened") -> bool:
    """False where this decoder's prediction is there already: then it becomes the result."""
    other = aliased(Prediction)
    same = (other.sha256 == outcome.sha256) & (other.model_version == outcome.model_version)
    is_there = exists().where(same, other.decoder_revision == outcome.decoder_revision)
    is_older = Prediction.decoder_revision < outcome.decoder_revision
    rise = (
        update(Prediction)
        .where(Prediction.id == prediction, is_older, ~is_there)
        .values(decoder_revision=outcome.decoder_revision, decoded_with=outcome.decoded_with)
        .returning(Prediction.id)
    )
    try:
        with session.begin_nested():
            return bool(session.execute(rise, execution_options=UNSYNCHRONIZED).all())
    except IntegrityError:  # another worker added it meanwhile
        return False


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-9), 1 - 1e-9)
    return log(bounded / (1 - bounded))
