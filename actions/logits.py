"""Gives predictions of older schemas the raw logit that they lack, by undoing their version's calibration.

Not part of a migration, which knows no home: `db upgrade` does it afterwards, and again if it was broken off.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, aliased

from shared.base.errors import BrokenModel
from shared.database import Database, ModelVersion, Prediction, Screening
from shared.database.connection import is_refused
from shared.models import manifest
from shared.models.manifest import Calibration

CHUNK = 1000
NEAREST = 1e-12
"""So near to 0 or 1 a probability holds too few digits of its logit: below, it is known to about 0.0001."""


@dataclass
class Filled:
    """How many logits were filled in, and how many predictions stay without; fits and drift leave these out."""

    filled: int = 0
    saturated: int = 0
    """Their probability is 0 or 1, or too near to it."""
    unread: int = 0
    """No result tells their probability."""
    refused: int = 0
    """This role may not write them: the owner of the tables may."""
    gone: dict[str, int] = field(default_factory=dict)
    """By version: its manifest is not in this home, or is not the one that was published."""

    @property
    def missing(self) -> int:
        return self.saturated + self.unread + self.refused + sum(self.gone.values())


def fill(
    database: Database,
    models: Path,
    key: SecretStr | None = None,
    advance: Callable[[int], object] = lambda _count: None,
) -> Filled:
    """In short transactions; each row once, and only where there is no logit. Safe to break off and to repeat."""
    done = Filled()
    with database.read() as session:
        version = Prediction.model_version
        lacking = select(version, func.count()).where(Prediction.logit.is_(None)).group_by(version)
        counts = {str(name): number for name, number in session.execute(lacking)}
    for name, number in sorted(counts.items()):
        calibration = _calibration(database, models, name, key)
        if calibration is None:
            done.gone[name] = number
            continue
        before = done.filled + done.missing
        try:
            _fill_version(database, name, calibration, done, advance)
        except DBAPIError as error:
            if not is_refused(error.orig):
                raise
            done.refused += number - (done.filled + done.missing - before)
    return done


def _fill_version(
    database: Database, version: str, calibration: Calibration, done: Filled, advance: Callable[[int], object]
) -> None:
    after: int | None = 0
    while after is not None:
        after = _fill_chunk(database, version, calibration, after, done)
        advance(CHUNK)


def _calibration(database: Database, models: Path, version: str, key: SecretStr | None) -> Calibration | None:
    with database.read() as session:
        row = session.get(ModelVersion, version)
    if row is None:
        return None
    try:
        return manifest.read(models / version, row.manifest_sha256, key).calibration
    except BrokenModel:
        return None


def _fill_chunk(database: Database, version: str, calibration: Calibration, after: int, done: Filled) -> int | None:
    """The number of the last prediction that was looked at; None at the end."""
    with database.write() as session:
        rows = _chunk(session, version, after)
        logits = []
        for number, probability in rows:
            if probability is not None and (logit := invert(calibration, probability)) is not None:
                logits.append({"id": number, "logit": logit})
        if logits:
            session.execute(update(Prediction), logits)
    without = sum(probability is None for _, probability in rows)
    done.filled += len(logits)
    done.unread += without
    done.saturated += len(rows) - without - len(logits)
    return rows[-1][0] if len(rows) == CHUNK else None


def _chunk(session: Session, version: str, after: int) -> list[tuple[int, float | None]]:
    """Predictions without a logit, and the probability that their version's own calibration gave them."""
    other = aliased(Screening)
    own = (other.prediction_id == Prediction.id) & other.operating_point_id.is_(None)
    probability = select(other.probability).where(own).order_by(other.sighting_id).limit(1).scalar_subquery()
    rows = session.execute(
        select(Prediction.id, probability)
        .where(Prediction.model_version == version, Prediction.logit.is_(None), Prediction.id > after)
        .order_by(Prediction.id)
        .limit(CHUNK)
    )
    return [(number, found) for number, found in rows]


def invert(calibration: Calibration, probability: float) -> float | None:
    """The logit that was calibrated to this probability, 0 to 1; None where too little is left of it."""
    if calibration.slope == 0 or not NEAREST <= probability <= 1 - NEAREST:
        return None
    log_odds = math.log(probability) - math.log1p(-probability)
    return (log_odds - calibration.intercept) / calibration.slope
