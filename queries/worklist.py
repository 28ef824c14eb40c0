"""The worklist: what a reader should see first, of what nobody has reviewed. The one place for its order."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, literal, select

from shared.base.lanes import Lane
from shared.database.views import RESULTS

NEAR = 0.1
"""Within this distance of the threshold, as a calibrated probability, a label is hardly more than a guess."""

_result = RESULTS.c
_distance = func.abs(_result.probability - _result.threshold)
_REASONS: dict[str, ColumnElement[bool]] = {
    "unfamiliar": _result.unfamiliar,
    "near the threshold": _distance <= NEAR,  # on both sides: a missed pneumonia costs most
    "positive": _result.label == "PNEUMONIA",
    "negative": _result.label == "NORMAL",
}
"""Why a reader should see a result, the most pressing first; the first that holds counts."""

IS_TO_REVIEW: ColumnElement[bool] = (_result.state == "done") & _result.reviewed_word.is_(None)
"""No word at all: who wrote UNCLEAR or NOT_READABLE has seen the image."""
WHY = case(*((condition, literal(name)) for name, condition in _REASONS.items())).label("why")
_rank = case(*((condition, literal(rank)) for rank, condition in enumerate(_REASONS.values())))
_is_ordered_by_distance = _rank.in_((1, 3))
_ORDER: tuple[ColumnElement[Any], ...] = (
    case((_result.lane == Lane.STAT, literal(0)), else_=literal(1)),  # somebody waits for it
    _rank,
    case((_result.outside_population, literal(0)), else_=literal(1)),  # to be trusted less than others of its kind
    case((_is_ordered_by_distance, _distance)),
    _result.probability.desc(),
)


def query(conditions: Sequence[ColumnElement[bool]], limit: int | None) -> Select[Any]:
    """What fulfils these conditions and is to be reviewed, with a column `why`; one row for each content.

    Copies have one picture, and a word on it is on all of them. Of those, the most pressing is shown, or the newest: a
    folder that was renamed has its images under both names.
    """
    is_first = func.row_number().over(partition_by=_result.sha256, order_by=(*_ORDER, _result.sighting_id.desc()))
    place = func.row_number().over(order_by=(*_ORDER, _result.sighting_id))
    columns = (WHY, *RESULTS.columns)
    ranked = select(*columns, is_first.label("copy"), place.label("place")).where(IS_TO_REVIEW, *conditions).subquery()
    shown = [ranked.c[column.name] for column in columns]
    return select(*shown).where(ranked.c.copy == 1).order_by(ranked.c.place).limit(limit)
