"""The worklist: what a reader should see first, of what nobody has reviewed. The one place for its order."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Text, case, cast, func, literal, null, select, type_coerce

from shared.base.lanes import Lane
from shared.database.views import RESULTS

NEAR = 0.1
"""Within this distance of the threshold, as a calibrated probability, a label is hardly more than a guess."""

AUDIT = "audit sample"
BLANK = (
    *("label", "probability", "threshold", "unfamiliar", "unfamiliar_score", "logit", "reviewed_label"),
    "reviewed_word",
)
"""What a blind reader is not to see: the model's answer, and another reader's word."""

_result = RESULTS.c
_is_blind = _result.awaits_blind_reading
_distance = func.abs(_result.probability - _result.threshold)
_REASONS: dict[str, ColumnElement[bool]] = {
    AUDIT: _is_blind,
    "unfamiliar": _result.unfamiliar,
    "near the threshold": _distance <= NEAR,  # on both sides: a missed pneumonia costs most
    "positive": _result.label == "PNEUMONIA",
    "negative": _result.label == "NORMAL",
}
"""Why a reader should see a result, the most pressing first; the first that holds counts."""

IS_TO_REVIEW: ColumnElement[bool] = (_result.state == "done") & (_result.reviewed_word.is_(None) | _is_blind)
"""No word at all: who wrote UNCLEAR or NOT_READABLE has seen the image. Of an audit sample, no blind word."""
WHY = case(*((condition, literal(name)) for name, condition in _REASONS.items())).label("why")
_rank = case(*((condition, literal(rank)) for rank, condition in enumerate(_REASONS.values())))
_is_ordered_by_distance = _rank.in_((2, 4))
_ORDER: tuple[ColumnElement[Any], ...] = (
    case((_result.lane == Lane.STAT, literal(0)), else_=literal(1)),  # somebody waits for it
    _rank,
    # Of audit samples, the order says nothing about the model's answer: they come by number.
    case((_is_blind, literal(0)), (_result.outside_population, literal(0)), else_=literal(1)),  # trusted less
    case((_is_ordered_by_distance, _distance)),
    case((_is_blind, literal(0.0)), else_=_result.probability).desc(),
)


def query(conditions: Sequence[ColumnElement[bool]], limit: int | None, *, is_blind: bool = False) -> Select[Any]:
    """What fulfils these conditions and is to be reviewed, with a column `why`; one row for each content.

    Audit samples come without what a blind reader is not to see; if the whole list `is_blind`, all do.

    Copies have one picture, and a word on it is on all of them. Of those, the most pressing is shown, or the newest: a
    folder that was renamed has its images under both names.
    """
    is_first = func.row_number().over(partition_by=_result.sha256, order_by=(*_ORDER, _result.sighting_id.desc()))
    place = func.row_number().over(order_by=(*_ORDER, _result.sighting_id))
    why = type_coerce(case((_is_blind, literal(AUDIT))), Text).label("why") if is_blind else WHY
    columns = (why, *(_blanked(column, is_blind=is_blind) for column in RESULTS.columns))
    ranked = select(*columns, is_first.label("copy"), place.label("place")).where(IS_TO_REVIEW, *conditions).subquery()
    shown = [ranked.c[column.name] for column in columns]
    return select(*shown).where(ranked.c.copy == 1).order_by(ranked.c.place).limit(limit)


def _blanked(column: Column[Any], *, is_blind: bool) -> ColumnElement[Any]:
    if column.name not in BLANK:
        return column
    nothing = cast(null(), column.type)  # PostgreSQL takes a bare NULL of a subquery for a text
    return type_coerce(nothing if is_blind else case((_is_blind, nothing), else_=column), column.type).label(
        column.name
    )
