"""How it goes: tables of the page and of its CSV files, some of which are drawn, too."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from queries import accuracy, agreement, drift, operating_points, versions
from queries.worklist import max_wait
from queries.worklist_page import Viewer
from queries.worklist_rows import summary
from shared.base.settings import Settings
from shared.database import Screening, Sighting, SightingState, TrainingRun
from shared.ledger.latest import IS_RESULT
from shared.statistics.weighted import Share

SPAN = timedelta(days=30)
MAX_TRAININGS = 20
Cell = str | int | float | None


@dataclass(frozen=True)
class Drawing:
    """How a table is drawn: the columns of the values, of what they are called, and of the ends of their intervals."""

    kind: Literal["line", "bars", "intervals"]
    value: int = 1
    labels: tuple[int, ...] = (0,)
    interval: tuple[int, int] | None = None


@dataclass(frozen=True)
class Section:
    """A table; `drawing` is None where there is no chart of it."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    drawing: Drawing | None = None


@dataclass(frozen=True)
class Asked:
    session: Session
    settings: Settings
    viewer: Viewer
    now: datetime


def section(session: Session, settings: Settings, viewer: Viewer, now: datetime, name: str) -> Section | None:
    """None for a name that no section has."""
    make = SECTIONS.get(name)
    return make(Asked(session, settings, viewer, now)) if make else None


def sections(session: Session, settings: Settings, viewer: Viewer, now: datetime) -> list[Section]:
    asked = Asked(session, settings, viewer, now)
    return [make(asked) for make in SECTIONS.values()]


def _images(asked: Asked) -> Section:
    day = func.date(Sighting.finished_at)
    rows = asked.session.execute(
        select(day, func.count())
        .where(Sighting.finished_at > asked.now - SPAN, Sighting.state != SightingState.SUPERSEDED)
        .group_by(day)
        .order_by(day)
    )
    return Section("images", ("day", "images"), [(str(row[0]), row[1]) for row in rows], Drawing("line"))


def _lanes(asked: Asked) -> Section:
    found = summary(asked.session, asked.viewer, asked.now)
    rows = []
    for lane in found.lanes:
        oldest = None if lane.oldest is None else round(lane.oldest.total_seconds() / 60)
        rows.append((str(lane.lane), lane.unread, oldest, round(max_wait(lane.lane).total_seconds() / 60)))
    columns = ("lane", "to be read", "oldest waits, minutes", "limit, minutes")
    return Section("lanes", columns, rows, Drawing("bars", value=2))


def _positives(asked: Asked) -> Section:
    positive = func.sum(case((Screening.label == "PNEUMONIA", 1), else_=0))
    rows = asked.session.execute(
        select(Sighting.source, positive, func.count())
        .join(Screening, IS_RESULT)
        .where(Sighting.finished_at > asked.now - SPAN)
        .group_by(Sighting.source)
        .order_by(Sighting.source)
    )
    listed = [(source, int(hits), count, round(hits / count, 4)) for source, hits, count in rows]
    return Section("positives", ("source", "positive", "images", "share"), listed, Drawing("bars"))


def _quarantined(asked: Asked) -> Section:
    rows = asked.session.execute(
        select(Sighting.reason, func.count())
        .where(Sighting.state == SightingState.QUARANTINED, Sighting.finished_at > asked.now - SPAN)
        .group_by(Sighting.reason)
        .order_by(func.count().desc(), Sighting.reason)
        .limit(50)
    )
    return Section(
        "quarantined", ("reason", "images"), [(reason or "-", count) for reason, count in rows], Drawing("bars")
    )


def _accuracy(asked: Asked) -> Section:
    columns = (
        "source",
        "version",
        "drawn",
        "read",
        "found",
        "missed",
        "recall",
        "from",
        "to",
        "specificity",
        "at least",
    )
    rows = []
    for each in accuracy.in_service(asked.session, asked.settings, asked.now):
        recall, specificity = _figures(each.recall), _figures(each.specificity)
        counts = (each.reading.drawn, each.reading.read, each.found, each.missed)
        rows.append((each.source, each.model_version, *counts, *recall, *specificity[:2]))
    return Section("accuracy", columns, rows, Drawing("intervals", 6, (0, 1), (7, 8)))


def _figures(share: Share) -> tuple[Cell, Cell, Cell]:
    if share.value is None:
        return None, None, None
    return round(share.value, 3), round(share.low, 3), round(share.high, 3)


def _drift(asked: Asked) -> Section:
    rows: list[Sequence[Cell]] = []
    for each in drift.overview(asked.session):
        look = each.look
        since = f"{look.since:%Y-%m-%d %H:%M}" if look else None
        psi = round(look.psi, 3) if look and look.psi is not None else None
        alarms = "; ".join(look.alarms.values()) if look else None
        rows.append((each.source, each.version, look.images if look else each.images, since, psi, alarms or "-"))
    columns = ("source", "version", "images", "since", "PSI of scores", "out of the ordinary")
    return Section("drift", columns, rows, Drawing("bars", 4, (0, 1)))


def _agreement(asked: Asked) -> Section:
    rows = [
        (f"{pair.first}, {pair.second}", pair.images, pair.agreed, None if pair.kappa is None else round(pair.kappa, 3))
        for pair in agreement.pairs(asked.session)
    ]
    return Section("agreement", ("readers", "images both read", "agreed", "kappa"), rows, Drawing("bars", 3))


def _disagreements(asked: Asked) -> Section:
    rows = [
        (row.sighting, row.source, row.word, row.label, row.reason, f"{row.at:%Y-%m-%d %H:%M}")
        for row in agreement.disagreements(asked.session, asked.viewer.name)
    ]
    return Section("disagreements", ("image", "source", "reader", "model", "why", "at"), rows)


def _versions(asked: Asked) -> Section:
    columns = ("version", "state", "made", "architecture", "held-out images", *versions.FIGURES)
    rows: list[Sequence[Cell]] = []
    for row in versions.list_versions(asked.session, asked.settings.models, asked.settings.signing_key):
        figures = [None if figure is None else round(figure.value, 4) for figure in row.figures]
        state = "live" if row.is_live else row.state
        rows.append((row.version, state, f"{row.created_at:%Y-%m-%d}", row.architecture, row.images, *figures))
    return Section("versions", columns, rows)


def _trainings(asked: Asked) -> Section:
    runs = asked.session.scalars(select(TrainingRun).order_by(TrainingRun.id.desc()).limit(MAX_TRAININGS))
    rows = [
        (run.id, run.architecture, run.cause, run.state, f"{run.started_at:%Y-%m-%d %H:%M}", run.version, run.problem)
        for run in runs
    ]
    return Section("trainings", ("run", "architecture", "cause", "state", "since", "version", "problem"), rows)


def _points(asked: Asked) -> Section:
    columns = (
        "point",
        "source",
        "version",
        "state",
        "threshold",
        "recall goal",
        "recall at least",
        "words",
        "positives",
    )
    rows = []
    for point in operating_points.list_points(asked.session):
        state = f"{point.state}, provisional" if point.is_provisional else point.state
        figures = (round(point.threshold, 4), point.recall_goal, round(point.recall_low, 3))
        rows.append((point.number, point.source, point.version, state, *figures, point.words, point.positives))
    return Section("points", columns, rows)


SECTIONS: dict[str, Callable[[Asked], Section]] = {
    "images": _images,
    "lanes": _lanes,
    "positives": _positives,
    "quarantined": _quarantined,
    "accuracy": _accuracy,
    "drift": _drift,
    "agreement": _agreement,
    "disagreements": _disagreements,
    "versions": _versions,
    "trainings": _trainings,
    "points": _points,
}
