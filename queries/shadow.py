"""What versions in shadow would have said, beside what the live version said of the same images."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from shared.database import Prediction, Screening, ShadowRun, ShadowScore

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


def overviews(session: Session, *, open_only: bool = False, version: str | None = None) -> list[ShadowOverview]:
    """The runs of a version, or of all, the newest first."""
    query = select(ShadowRun).order_by(ShadowRun.id.desc())
    if open_only:
        query = query.where(ShadowRun.ended_at.is_(None))
    if version is not None:
        query = query.where(ShadowRun.model_version == version)
    runs = session.scalars(query).all()
    rows = session.execute(
        select(ShadowScore.shadow_run_id, Screening.label, ShadowScore.label, func.count())
        .join(Screening, BESIDE)
        .where(ShadowScore.shadow_run_id.in_([run.id for run in runs]))
        .group_by(ShadowScore.shadow_run_id, Screening.label, ShadowScore.label)
    )
    counts = {(row[0], row[1], row[2]): row[3] for row in rows}
    return [
        ShadowOverview(
            run.id,
            run.model_version,
            run.source,
            run.share,
            run.started_at,
            run.ended_at,
            both_ill=counts.get((run.id, "PNEUMONIA", "PNEUMONIA"), 0),
            both_well=counts.get((run.id, "NORMAL", "NORMAL"), 0),
            only_live_ill=counts.get((run.id, "PNEUMONIA", "NORMAL"), 0),
            only_shadow_ill=counts.get((run.id, "NORMAL", "PNEUMONIA"), 0),
        )
        for run in runs
    ]


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
