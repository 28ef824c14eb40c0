"""The rules of the worklist: what is read first, why, and what is told before the word.

The page (`queries/worklist_page.py`) and `results --to-review` stand on these alone.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    SQLColumnExpression,
    Text,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    true,
    type_coerce,
)

from shared.base.lanes import LANES, SOURCE_LANES, Lane
from shared.base.settings import Settings
from shared.database import WaitsFor
from shared.database.views import RESULTS, WORKLIST
from shared.ledger.reading_list import NEAR, PLAIN, POSITIVE, PRESSING, UNFAMILIAR

WHY = ("unfamiliar", "near the threshold", "positive", "negative")
"""Why a reader should see a result, the most pressing first; the first that holds counts."""
AUDIT = "audit sample"
URGENT_OVERDUE, URGENT, OVERDUE, REST = range(4)
BLANK = (
    *("label", "probability", "threshold", "unfamiliar", "unfamiliar_score", "logit", "reviewed_label"),
    "reviewed_word",
)
"""What a blind reader is not to see: the model's answer, and another reader's word."""

_result, _item = RESULTS.c, WORKLIST.c


def max_wait(lane: str) -> timedelta:
    return LANES[Lane(lane)].max_wait if lane in LANES else LANES[Lane.ROUTINE].max_wait


def segment_of(lane: str, seen_at: datetime, now: datetime) -> int:
    """The urgent lane is first, then what waits beyond its lane's limit."""
    is_overdue = seen_at < now - max_wait(lane)
    if lane == Lane.STAT:
        return URGENT_OVERDUE if is_overdue else URGENT
    return OVERDUE if is_overdue else REST


def reason(probability: float, threshold: float, label: str, *, unfamiliar: bool) -> str:
    """Why a person should look at a result."""
    if unfamiliar:
        return WHY[0]
    if abs(probability - threshold) <= NEAR:
        return WHY[1]
    return WHY[2] if label == "PNEUMONIA" else WHY[3]


def reason_in(columns: Any) -> ColumnElement[str]:
    """The same in SQL, of whatever has these columns."""
    return case(
        (columns.unfamiliar.is_(True), WHY[0]),
        ((columns.probability - columns.threshold).between(-NEAR, NEAR), WHY[1]),
        (columns.label == "PNEUMONIA", WHY[2]),
        else_=WHY[3],
    )


def is_read_blind(settings: Settings, source: str, waits_for: WaitsFor | None, *, is_drawn: bool) -> bool:
    """Whether a reader's first word on an image is given without sight of the model's answer.

    The second reader's always is, and a senior's who decides.
    """
    return is_drawn or waits_for in (WaitsFor.SECOND, WaitsFor.SENIOR) or settings.reading_rule_of(source).is_blind


def shows_answer(settings: Settings, source: SQLColumnExpression[str]) -> ColumnElement[bool]:
    """Of a column with sources: whether a source shows the answer before the word."""
    is_blind = settings.reading_rule_of("").is_blind
    exceptions: Collection[str] = [
        name for name in settings.sources if settings.reading_rule_of(name).is_blind != is_blind
    ]
    return source.in_(exceptions) if is_blind else not_(source.in_(exceptions))


def query(
    settings: Settings,
    conditions: Sequence[ColumnElement[bool]],
    limit: int | None,
    now: datetime,
    *,
    is_blind: bool = False,
    tells_answer: bool = False,
) -> Select[Any]:
    """What fulfils these conditions and waits for a first word, with a column `why`; one row for each content.

    In the page's order, and with what the page shows: images of blind sources, and drawn ones, come without the answer.
    If the whole list `is_blind`, all do, and the order tells no more than a blind source's. Where the conditions
    ask for the answer (`tells_answer`), they find nothing that is hidden.

    Copies have one picture, and a word on it is on all of them. Of those, the most pressing is shown, or the newest: a
    folder that was renamed has its images under both names.
    """
    is_hidden = true() if is_blind else or_(_item.is_drawn, not_(shows_answer(settings, _result.source)))
    lane = func.coalesce(_result.lane, Lane.ROUTINE)
    need, place = (_coarse_need(), _result.seen_at) if is_blind else (_item.need, _item.place)
    order = (_segment(lane, now), need, place, _result.sighting_id)
    is_first = func.row_number().over(
        partition_by=_result.sha256,
        order_by=(case((lane == Lane.STAT, 0), else_=1), _item.need, _result.sighting_id.desc()),
    )
    is_sample = and_(_item.is_drawn, shows_answer(settings, _result.source))  # which says why the others tell more
    why = case((is_sample, AUDIT), (is_hidden, cast(null(), Text)), else_=reason_in(_result))
    columns = (
        type_coerce(why, Text).label("why"),
        *(_blanked(column, is_hidden) for column in RESULTS.columns),
    )
    ranked = (
        select(*columns, is_first.label("copy"), func.row_number().over(order_by=order).label("rank"))
        .join_from(RESULTS, WORKLIST, _item.sighting_id == _result.sighting_id)
        .where(_result.state == "done", _item.waits_for == WaitsFor.FIRST, *conditions)
        .where(not_(is_hidden) if tells_answer else true())
        .subquery()
    )
    shown = [ranked.c[column.name] for column in columns]
    return select(*shown).where(ranked.c.copy == 1).order_by(ranked.c.rank).limit(limit)


def _segment(lane: ColumnElement[str], now: datetime) -> ColumnElement[int]:
    overdue = or_(false(), *(and_(lane == each, _result.seen_at < now - max_wait(each)) for each in SOURCE_LANES))
    is_urgent = lane == Lane.STAT
    return case((and_(is_urgent, overdue), URGENT_OVERDUE), (is_urgent, URGENT), (overdue, OVERDUE), else_=REST)


def _coarse_need() -> ColumnElement[int]:
    """A blind source's bands, also for sources that have finer ones; half of the drawn images stand in either."""
    is_pressing = _item.need.between(UNFAMILIAR, POSITIVE)
    band = case((_item.is_drawn, _result.sighting_id % 2 == 0), else_=is_pressing)
    return case((band, literal(PRESSING)), else_=literal(PLAIN))


def _blanked(column: Column[Any], is_hidden: ColumnElement[bool]) -> ColumnElement[Any]:
    if column.name not in BLANK:
        return column
    nothing = cast(null(), column.type)  # PostgreSQL takes a bare NULL of a subquery for a text
    return type_coerce(case((is_hidden, nothing), else_=column), column.type).label(column.name)
