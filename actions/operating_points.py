"""Applies a source's operating point, takes it back, and retires it with its version. What fits one: `fitting.py`."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from actions.actor import named
from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import OperatingPoint, audit
from shared.ledger.operating_points import IS_APPLIED, PROMOTION
from shared.ledger.register import as_text
from shared.models import published

REPLACED = "replaced by"
"""How `retired_because` begins where another point took its place: a rollback takes it up again."""

GIVEN_UP = "given up"
"""How it begins where a person wanted no successor of a point that a promotion had retired."""

LOST = OperatingPoint.retired_because.startswith(PROMOTION)
"""Points that a promotion retired, and that nobody has decided about since."""


@dataclass(frozen=True)
class RolledBack:
    """What is applied no more, and what is instead: None for the version's own line and threshold."""

    source: str
    version: str
    retired: int | None
    applied: int | None


def apply(
    session: Session, number: int, actor: str | None, reason: str | None, now: datetime, *, provisional: bool = False
) -> OperatingPoint:
    """Have a source's images read by a point from now on; no result changes. It replaces the one before.

    Raises InvalidRequest without an actor or a reason, for a number that no point has, and for a provisional one that
    was not asked for as such; WorkFailed for one that was retired, or whose version is not in service: it would read
    nothing now, and all images of the source on the day on which the version goes live.
    """
    actor, reason = named(actor), _said(reason)
    point = session.get(OperatingPoint, number)
    if point is None:
        raise InvalidRequest(f"There is no operating point {number}: `pneumoscreen calibrate list` shows them.")
    published.hold(session, point.model_version)
    live = published.newest_promotion(session)
    if point.model_version != live:
        raise WorkFailed(
            f"Operating point {number} is one of {point.model_version}, and {live or 'no version'} is live: "
            f"`pneumoscreen calibrate fit --source {point.source} --rescore` fits one to the words of then."
        )
    if point.retired_at is not None:
        raise WorkFailed(
            f"Operating point {number} was retired ({point.retired_because}): `pneumoscreen calibrate fit` makes a new "
            "one, `pneumoscreen calibrate rollback` takes back the one that replaced it."
        )
    if point.applied_at is not None:
        raise WorkFailed(f"Operating point {number} is applied already, since {point.applied_at:%Y-%m-%d %H:%M} (UTC).")
    if point.is_provisional and not provisional:
        raise InvalidRequest(
            f"Operating point {number} is provisional: the words prove a recall of {point.recall_low:.3f}, not of "
            f"{point.recall_goal:g}. Review more images, or apply it all the same with --provisional."
        )
    before = _applied(session, point.source, point.model_version)
    if before is not None:
        _retire(before, actor, now, f"{REPLACED} {number}")
        session.flush()  # of a source and version one is applied, which the database holds at each moment
    point.applied_by, point.applied_at, point.reason = actor, now, reason
    try:
        session.flush()
    except IntegrityError as error:
        raise WorkFailed("Another operating point was applied to this source at this moment: look again.") from error
    kind = "provisional point" if point.is_provisional else "point"
    audit.record(session, actor, "calibrate apply", f"{kind} {number} of {point.source}: {reason}", at=now)
    return point


def rollback(
    session: Session, source: str, version: str, actor: str | None, reason: str | None, now: datetime
) -> RolledBack:
    """Take back the point that is applied to a source and a version; the one that it replaced is applied again.

    Where there was none, the version's own line and threshold are. Where a promotion retired the source's point, this
    says that the new version's own are wanted. Raises InvalidRequest without an actor or a reason, WorkFailed if the
    source has no point.
    """
    actor, reason = named(actor), _said(reason)
    point = _applied(session, source, version)
    if point is None:
        if not _give_up_lost(session, source, reason):
            raise WorkFailed(f"No operating point is applied to the source {source} and {version}.")
        audit.record(session, actor, "calibrate rollback", f"{source} to {version}'s own: {reason}", at=now)
        return RolledBack(source, version, None, None)
    replaced = (OperatingPoint.source == source) & (OperatingPoint.model_version == version)
    before = session.scalars(
        select(OperatingPoint)
        .where(replaced, OperatingPoint.retired_because == f"{REPLACED} {point.id}")
        .order_by(OperatingPoint.retired_at.desc(), OperatingPoint.id.desc())
        .limit(1)
    ).first()
    _retire(point, actor, now, f"rolled back: {reason}")
    session.flush()
    if before is not None:
        _take_up(before)
    else:
        _give_up_lost(session, source, reason)
    instead = f"point {before.id}" if before is not None else f"{version}'s own"
    audit.record(session, actor, "calibrate rollback", f"point {point.id} of {source} to {instead}: {reason}", at=now)
    return RolledBack(source, version, point.id, before.id if before is not None else None)


def retire_for(session: Session, version: str, actor: str, now: datetime) -> list[str]:
    """Retire the points of a version that goes out of service; returns the sources that lose theirs.

    Their images are read by the next version's own line and threshold, unless a point of that one is applied to them.
    """
    points = session.scalars(
        select(OperatingPoint)
        .where(OperatingPoint.model_version == version, IS_APPLIED)
        .order_by(OperatingPoint.source)
    ).all()
    for point in points:
        _retire(point, actor, now, f"{PROMOTION} of another version than {version}")
    session.flush()
    if points:
        numbers = ", ".join(f"{point.id} of {point.source}" for point in points)
        audit.record(session, actor, "calibrate retire", f"{version} goes out of service: {numbers}", at=now)
    return [point.source for point in points]


def restore_for(session: Session, version: str, actor: str, now: datetime) -> list[str]:
    """Take up again the points that went with a version which a rollback brings back; returns their sources."""
    went = or_(LOST, OperatingPoint.retired_because.startswith(GIVEN_UP))  # given up for the version that failed
    gone = select(OperatingPoint).where(OperatingPoint.model_version == version, went)
    restored: dict[str, OperatingPoint] = {}
    for point in session.scalars(gone.order_by(OperatingPoint.retired_at.desc(), OperatingPoint.id.desc())):
        if point.source not in restored and _applied(session, point.source, version) is None:
            restored[point.source] = point
    for point in restored.values():
        _take_up(point)
    session.flush()
    if restored:
        numbers = ", ".join(f"{point.id} of {source}" for source, point in sorted(restored.items()))
        audit.record(session, actor, "calibrate restore", f"{version} is back in service: {numbers}", at=now)
    return sorted(restored)


def _give_up_lost(session: Session, source: str, reason: str) -> bool:
    """Note that a person wants no successor of the points that promotions retired; False if there are none."""
    lost = session.scalars(select(OperatingPoint).where(OperatingPoint.source == source, LOST)).all()
    for point in lost:
        point.retired_because = f"{GIVEN_UP}: {reason} (it went with the {point.retired_because})"
    return bool(lost)


def _said(reason: str | None) -> str:
    text = as_text((reason or "").strip())[0]
    if not text:
        raise InvalidRequest("Say why: --reason TEXT.")
    return text


def _applied(session: Session, source: str, version: str) -> OperatingPoint | None:
    is_it = (OperatingPoint.source == source) & (OperatingPoint.model_version == version)
    return session.scalars(select(OperatingPoint).where(is_it, IS_APPLIED).with_for_update()).first()


def _retire(point: OperatingPoint, actor: str, now: datetime, why: str) -> None:
    point.retired_by, point.retired_at, point.retired_because = actor, now, why


def _take_up(point: OperatingPoint) -> None:
    """The point is applied again, under the name and time of the first; the audit log says when it was not."""
    point.retired_by = point.retired_at = point.retired_because = None
