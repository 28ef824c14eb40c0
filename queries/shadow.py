"""What versions in shadow would have said, beside what the live version said of the same images."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from shared.database import Prediction, Screening, ShadowRun, ShadowScore

NEWEST = 20_000
"""So many of a run's scores `status` counts: 0.1 s for each run."""
MAX_LISTED = 50
"""Disagreements that a table lists of a run, the widest apart first; all are counted, and in JSON."""


@dataclass(frozen=True)
class Disagreement:
    """An image of which the two versions gave different labels."""

    sighting_id: int
    live_version: str
    live_label: str
    live_probability: float
    shadow_label: str
    shadow_probability: float


@dataclass(frozen=True)
class ShadowOverview:
    """A run: since when, of what share of which source, and how often the two agreed."""

    run: int
    version: str
    source: str
    share: float
    started_at: datetime
    ended_at: datetime | None
    both_ill: int
    both_well: int
    only_live_ill: int
    only_shadow_ill: int
    is_of_newest: bool = False
    """There may be more, which were not counted."""

    @property
    def images(self) -> int:
        return self.both_ill + self.both_well + self.disagreements

    @property
    def disagreements(self) -> int:
        return self.only_live_ill + self.only_shadow_ill


BESIDE = and_(
    Screening.sighting_id == ShadowScore.sighting_id,
    Screening.prediction_id == ShadowScore.prediction_id,
)


def overviews(
    session: Session, *, open_only: bool = False, version: str | None = None, newest: int | None = None
) -> list[ShadowOverview]:
    """The runs of a version, or of all, the newest first; of each run, with `newest` only so many scores are counted.

    A million take seconds.
    """
    query = select(ShadowRun).order_by(ShadowRun.id.desc())
    if open_only:
        query = query.where(ShadowRun.ended_at.is_(None))
    if version is not None:
        query = query.where(ShadowRun.model_version == version)
    return [_overview(session, run, newest) for run in session.scalars(query)]


def _overview(session: Session, run: ShadowRun, newest: int | None) -> ShadowOverview:
    scores = select(ShadowScore.sighting_id, ShadowScore.prediction_id, ShadowScore.label.label("shadow_label"))
    scores = scores.where(ShadowScore.shadow_run_id == run.id)
    if newest is not None:
        scores = scores.order_by(ShadowScore.id.desc()).limit(newest)
    counted = scores.subquery()
    is_beside = and_(Screening.sighting_id == counted.c.sighting_id, Screening.prediction_id == counted.c.prediction_id)
    rows = session.execute(
        select(Screening.label, counted.c.shadow_label, func.count())
        .join_from(counted, Screening, is_beside)
        .group_by(Screening.label, counted.c.shadow_label)
    )
    counts = {(row[0], row[1]): row[2] for row in rows}
    overview = ShadowOverview(
        run.id,
        run.model_version,
        run.source,
        run.share,
        run.started_at,
        run.ended_at,
        both_ill=counts.get(("PNEUMONIA", "PNEUMONIA"), 0),
        both_well=counts.get(("NORMAL", "NORMAL"), 0),
        only_live_ill=counts.get(("PNEUMONIA", "NORMAL"), 0),
        only_shadow_ill=counts.get(("NORMAL", "PNEUMONIA"), 0),
    )
    return replace(overview, is_of_newest=newest is not None and overview.images >= newest)


def disagreements(session: Session, run: int, limit: int | None = None) -> list[Disagreement]:
    """Where the two gave different labels, the widest apart in probability first; all of them without a limit."""
    apart: ColumnElement[float] = func.abs(ShadowScore.probability - Screening.probability)
    rows = session.execute(
        select(
            ShadowScore.sighting_id,
            Prediction.model_version,
            Screening.label,
            Screening.probability,
            ShadowScore.label,
            ShadowScore.probability,
        )
        .join(Screening, BESIDE)
        .join(Prediction, Prediction.id == ShadowScore.prediction_id)
        .where(ShadowScore.shadow_run_id == run, ShadowScore.label != Screening.label)
        .order_by(apart.desc(), ShadowScore.sighting_id)
        .limit(limit)
    )
    return [Disagreement(*row) for row in rows]
