"""The operating points of sources: which there are, which are applied, and which sources lack one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared import sources
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.settings import Settings
from shared.database import Draw, OperatingPoint, Review, Sighting, SightingState
from shared.ledger import lookup
from shared.ledger.operating_points import IS_APPLIED, PROMOTION

TRAFFIC = timedelta(days=28)
"""Over which the images a day of a source are counted."""


@dataclass(frozen=True)
class PointRow:
    """A point as `calibrate list` shows it; state: fitted, applied or retired."""

    number: int
    source: str
    version: str
    state: str
    is_provisional: bool
    method: str
    threshold: float
    recall_goal: float
    recall_low: float
    words: int
    positives: int
    draw: int | None
    created_by: str
    created_at: datetime
    applied_by: str | None
    applied_at: datetime | None
    reason: str | None
    retired_because: str | None


def list_points(session: Session, source: str | None = None) -> list[PointRow]:
    """The newest first."""
    query = select(OperatingPoint).order_by(OperatingPoint.id.desc())
    if source is not None:
        query = query.where(OperatingPoint.source == source)
    return [_describe(point) for point in session.scalars(query)]


def _describe(point: OperatingPoint) -> PointRow:
    state = "retired" if point.retired_at else "applied" if point.applied_at else "fitted"
    return PointRow(
        point.id,
        point.source,
        point.model_version,
        state,
        point.is_provisional,
        point.method,
        point.threshold,
        point.recall_goal,
        point.recall_low,
        point.words,
        point.positives,
        point.draw_id,
        point.created_by,
        point.created_at,
        point.applied_by,
        point.applied_at,
        point.reason,
        point.retired_because,
    )


def check_source(session: Session, settings: Settings, source: str) -> None:
    """Raises InvalidRequest for a source that neither the settings nor any row names."""
    configured = sources.build(settings)
    if source not in configured and source not in (known := lookup.known_sources(session)):
        names = ", ".join(sorted({*configured, *known}))
        raise InvalidRequest(f"There is no source named {source!r}; there are: {names}.")


def find_draw(session: Session, source: str, number: int | None, version: str) -> Draw:
    """The draw of that number, else the newest with a word on it, and of these rather one by the version's scores.

    Raises WorkFailed where the source has none.
    """
    is_unread = ~select(Review.id).where(Review.draw_id == Draw.id, Review.withdrawn_at.is_(None)).exists()
    order = (is_unread, Draw.model_version != version, Draw.id.desc())
    of_source = select(Draw).where(Draw.source == source).order_by(*order)
    if number is not None:
        of_source = of_source.where(Draw.id == number)
    draw = session.scalars(of_source.limit(1)).first()
    if draw is None:
        which = "draw" if number is None else f"draw {number}"
        raise WorkFailed(
            f"The source {source} has no {which}: `pneumoscreen calibrate draw --source {source}` makes one."
        )
    return draw


def newest_applied(session: Session, source: str) -> OperatingPoint | None:
    """The point that was applied to the source last, whether or not it still is; what was only tried out is none."""
    applied = select(OperatingPoint).where(OperatingPoint.source == source, OperatingPoint.applied_at.is_not(None))
    return session.scalars(
        applied.order_by(OperatingPoint.applied_at.desc(), OperatingPoint.id.desc()).limit(1)
    ).first()


def images_a_day(session: Session, source: str, now: datetime) -> float | None:
    """How many images a day came from a source lately and were screened; None where there were none.

    By when they came: a rescreen is no traffic.
    """
    from queries.drift_images import first_since  # with NumPy, which `status` does not always need

    is_recent = (Sighting.source == source) & (Sighting.id >= first_since(session, now - TRAFFIC))
    query = select(func.count(), func.min(Sighting.seen_at)).where(is_recent, Sighting.state == SightingState.DONE)
    images, first = session.execute(query).one()
    if not images or first is None:
        return None
    return float(images / max((now - first) / timedelta(days=1), 1.0))


def needs(session: Session, live: str | None) -> Iterator[str]:
    """Sources whose point went with its version, and that have none for the live one."""
    covered = _covered(session, live)
    lost = select(OperatingPoint.source, func.max(OperatingPoint.id))
    rows = session.execute(
        lost.where(OperatingPoint.retired_because.startswith(PROMOTION))
        .group_by(OperatingPoint.source)
        .order_by(OperatingPoint.source)
    )
    for source, number in rows:
        if source not in covered:
            yield (
                f"the source {source} has no operating point since its version went out of service (point {number}): "
                f"its images are read by {live}'s own threshold. `pneumoscreen calibrate fit --source {source} "
                "--rescore` fits one to the words of then; `pneumoscreen calibrate rollback` says that none is wanted"
            )


def hints(session: Session, live: str | None, names: Sequence[str]) -> Iterator[str]:
    """Provisional points that are applied; and sources that never had a point, in one sentence."""
    rows = session.scalars(
        select(OperatingPoint)
        .where(IS_APPLIED, OperatingPoint.is_provisional, OperatingPoint.model_version == live)
        .order_by(OperatingPoint.source)
    )
    for point in rows:
        yield (
            f"the operating point {point.id} of the source {point.source} is provisional: its {point.positives} "
            f"positives prove a recall of {point.recall_low:.3f}, not of {point.recall_goal:g}. Review more images, "
            "and fit again"
        )
    had_one = set(session.scalars(select(OperatingPoint.source).where(OperatingPoint.applied_at.is_not(None))))
    without = sorted(set(names) - had_one)
    if without:
        yield (
            f"{_sources(without)} no operating point: labels are by the version's own threshold, which was measured "
            "elsewhere. `pneumoscreen calibrate draw --source NAME` begins one"
        )


def without_point(session: Session, live: str | None, names: Iterable[str]) -> list[str]:
    """Of these sources, those whose images are read by the live version's own threshold."""
    return sorted(set(names) - _covered(session, live))


def _covered(session: Session, live: str | None) -> set[str]:
    applied = select(OperatingPoint.source).where(IS_APPLIED, OperatingPoint.model_version == live)
    return set(session.scalars(applied))


def _sources(names: Sequence[str]) -> str:
    return f"the source {names[0]} has" if len(names) == 1 else f"the sources {', '.join(names)} have"
