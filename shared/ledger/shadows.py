"""Shadow runs and their scores: which images a shadow version sees, and what it would have said."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from shared.database import Prediction, ShadowRun, ShadowScore, Sighting
from shared.ledger.register import insert_new


@dataclass(frozen=True)
class Score:
    """What a shadow version would have said of a sighting."""

    sighting: int
    sha256: str
    logit: float
    probability: float
    threshold: float
    label: str


def open_runs(session: Session) -> list[ShadowRun]:
    """Those that have not ended, the oldest first."""
    return list(session.scalars(select(ShadowRun).where(ShadowRun.ended_at.is_(None)).order_by(ShadowRun.id)))


def hold_runs(session: Session) -> None:
    """Keep others from beginning a run until the transaction ends; scores go on.

    SQLite allows one writing transaction at a time anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE shadow_runs IN SHARE ROW EXCLUSIVE MODE"))


def is_chosen(run: int, share: float, sha256: str) -> bool:
    """Whether a content is in a run's share: a hash keyed by the run decides, so that every worker, a retry and a
    message that comes twice choose the same ones, and two runs choose independently.
    """
    digest = hashlib.blake2b(bytes.fromhex(sha256), key=b"pneumoscreen shadow %d" % run, digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def add_scores(session: Session, run: int, scores: Sequence[Score], now: datetime) -> int:
    """Add scores beside the predictions that are the sightings' results now; returns how many there were to add.

    A content that the run has scored already stays as it is. One whose sighting holds another result by now, or none,
    is left out: there is nothing to compare it with. The sightings stay until the transaction ends: else a score could
    come behind the erasing of its image.
    """
    results = {
        (row[0], row[1]): row[2]
        for row in session.execute(
            select(Sighting.id, Prediction.sha256, Prediction.id)
            .join(Prediction, Prediction.id == Sighting.prediction_id)
            .where(Sighting.id.in_({score.sighting for score in scores}))
            .order_by(Sighting.id)
            .with_for_update(read=True, key_share=True, of=Sighting)
        )
    }
    rows = [
        {
            "shadow_run_id": run,
            "sighting_id": score.sighting,
            "sha256": score.sha256,
            "prediction_id": results[score.sighting, score.sha256],
            "logit": score.logit,
            "probability": score.probability,
            "threshold": score.threshold,
            "label": score.label,
            "created_at": now,
        }
        for score in scores
        if (score.sighting, score.sha256) in results
    ]
    if rows:
        session.execute(insert_new(session, ShadowScore).values(rows))
    return len(rows)
