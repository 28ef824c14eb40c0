"""The worklist: what a reader should see first, of what nobody has reviewed. The one place for its order."""

from typing import Any

from sqlalchemy import ColumnElement, case, func, literal

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
ORDER: tuple[ColumnElement[Any], ...] = (
    case((_result.lane == Lane.STAT, literal(0)), else_=literal(1)),  # somebody waits for it
    _rank,
    case((_result.outside_population, literal(0)), else_=literal(1)),  # to be trusted less than others of its kind
    case((_is_ordered_by_distance, _distance)),
    _result.probability.desc(),
    _result.sighting_id,
)
