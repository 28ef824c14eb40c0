"""Fits an operating point of a source and stores it: from the words on a random draw, or from a labelled folder.

It is not applied: `actions/operating_points.py` does that, with a name and a reason.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from actions import novelty_limits
from actions.actor import named_or_user
from actions.novelty_limits import NoveltyLimit
from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Draw, OperatingPoint, Prediction, audit
from shared.ledger.register import parts
from shared.ledger.words import CountingWord, words_of_draw
from shared.models import training_images
from shared.models.manifest import Manifest
from shared.statistics import operating_point, threshold_table
from shared.statistics.operating_point import Choice, Readings
from shared.statistics.threshold_table import Row

MIN_GOAL = 0.5
CHOSEN, OWN = "chosen", "the version's own"
"""Names of rows in the table of thresholds."""


@dataclass(frozen=True)
class Counts:
    """What became of the images of a draw, or of a folder."""

    drawn: int
    unread: int = 0
    undecided: int = 0
    """Read, but the readers cannot tell."""
    without_logit: int = 0
    """With a word, but the version has not scored them, or its score of then is not known."""
    fitted_to: int | None = 0
    """With a word, but the version was fitted to them, so that they prove nothing; None where it does not tell."""
    without_patient: int = 0
    """Fitted to, but nothing tells whose they are: each counts as a patient."""


@dataclass(frozen=True)
class Sample:
    """The words to fit to, and what the point's row says of them."""

    readings: Readings
    counts: Counts
    draw: int | None = None
    fingerprint: str | None = None
    prevalence: float | None = None


@dataclass(frozen=True)
class Fitted:
    """A point that was stored: `number` is what `apply` takes."""

    number: int
    source: str
    version: str
    goal: float
    choice: Choice
    sample: Sample
    rows: tuple[Row, ...]
    novelty: NoveltyLimit | None

    @property
    def gains_nothing(self) -> bool:
        """Whether by these words the version's own threshold misses no more and calls no more of the healthy ill."""
        by_name = {row.name: row for row in self.rows}
        if OWN not in by_name:
            return False
        own, chosen = by_name[OWN], by_name[CHOSEN]
        pairs = ((own.recall, chosen.recall), (own.specificity, chosen.specificity))
        return all(theirs is not None and ours is not None and theirs.value >= ours.value for theirs, ours in pairs)


def sample_of_draw(session: Session, draw: Draw, version: str, known: frozenset[str] | None) -> Sample:
    """The words on a draw with the version's logits, weighted by one over the probability of being drawn.

    `known` is which images the version was fitted to, as `training_images.read` gives it: words on a draw may train,
    and what was learnt proves nothing. Within a stratum, those that are left stand for the rest. Raises WorkFailed
    where no image has both a word and a logit, and is new to the version.
    """
    words = words_of_draw(session, draw.id)
    logits = _logits(session, sorted({word.sha256 for word in words}), version)
    if draw.model_version == version:
        logits |= {word.sha256: word.logit for word in words if word.logit is not None}
    decided = [word for word in words if word.label is not None]
    scored = [word for word in decided if word.sha256 in logits]
    learnt = training_images.among(known or frozenset(), [word.sha256 for word in scored])
    used = [word for word, is_learnt in zip(scored, learnt, strict=True) if not is_learnt]
    counts = Counts(
        drawn=len(words),
        unread=sum(word.label is None and word.readers == 0 for word in words),
        undecided=sum(word.label is None and word.readers > 0 for word in words),
        without_logit=len(decided) - len(scored),
        fitted_to=None if known is None else sum(learnt),
        without_patient=sum(word.patient == word.sha256 for word in used),
    )
    if not decided:
        raise WorkFailed(
            f"Draw {draw.id} has no word that counts yet: `pneumoscreen calibrate list-draw {draw.id}` lists what to "
            f"read, `pneumoscreen review --csv FILE --draw {draw.id}` takes the words."
        )
    if scored and not used:
        raise WorkFailed(
            f"{version} was fitted to all {len(scored)} images of draw {draw.id} that have a word, which proves "
            f"nothing. `pneumoscreen calibrate draw --source {draw.source}` draws others."
        )
    if not used:
        raise WorkFailed(f"{version} has scored none of the images of draw {draw.id}: --rescore has it do that.")
    return Sample(_readings(words, used, logits), counts, draw=draw.id)


def _readings(words: list[CountingWord], used: list[CountingWord], logits: dict[str, float]) -> Readings:
    members, answered = Counter(word.stratum for word in words), Counter(word.stratum for word in used)
    return Readings(
        logits=np.array([logits[word.sha256] for word in used], dtype=np.float64),
        labels=np.array([word.label == "PNEUMONIA" for word in used], dtype=np.uint8),
        weights=np.array([members[word.stratum] / answered[word.stratum] / word.inclusion for word in used]),
        patients=tuple(word.patient for word in used),
    )


def _logits(session: Session, contents: list[str], version: str) -> dict[str, float]:
    """By content; of several revisions of the decoder, the newest counts."""
    found: dict[str, float] = {}
    for part in parts(contents):
        rows = session.execute(
            select(Prediction.sha256, Prediction.logit)
            .where(Prediction.sha256.in_(part), Prediction.model_version == version, Prediction.logit.is_not(None))
            .order_by(Prediction.decoder_revision)
        )
        found |= {content: logit for content, logit in rows if logit is not None}
    return found


def check_goal(goal: float) -> None:
    """Raises InvalidRequest for a recall that is none to be proved."""
    if not MIN_GOAL <= goal < 1:
        raise InvalidRequest(f"--recall must be at least {MIN_GOAL:g} and below 1, not {goal:g}.")


def fit(
    session: Session,
    source: str,
    manifest: Manifest,
    sample: Sample,
    goal: float,
    actor: str | None,
    now: datetime,
    seed: int = 0,
) -> Fitted:
    """Fit a source's point for a version, and store it, not applied.

    Raises InvalidRequest for a goal that is none, WorkFailed without a word of each class.
    """
    check_goal(goal)
    if sample.prevalence is not None and not 0 < sample.prevalence < 1:
        raise InvalidRequest(f"--prevalence must be between 0 and 1, not {sample.prevalence:g}.")
    own, readings = manifest.calibration.line, sample.readings
    choice = operating_point.choose(readings, goal, own, sample.prevalence, seed)
    thresholds = {CHOSEN: choice.threshold}
    if (as_own := _translated(manifest, choice)) is not None:
        thresholds[OWN] = as_own
    rows = threshold_table.tabulate(readings, choice.line, thresholds, sample.prevalence, seed)
    limit = novelty_limits.fit(session, source, manifest)
    details = {
        "choice": asdict(choice),
        "rows": [asdict(row) for row in rows],
        "counts": asdict(sample.counts),
        "prevalence": sample.prevalence,
        "novelty": asdict(limit) if limit is not None else None,
        "seed": seed,
    }
    point = OperatingPoint(
        source=source,
        model_version=manifest.version,
        slope=choice.line.slope,
        intercept=choice.line.intercept,
        threshold=choice.threshold,
        method=choice.method,
        recall_goal=goal,
        recall_low=choice.recall_low,
        words=len(readings),
        positives=int(readings.is_ill.sum()),
        draw_id=sample.draw,
        data_fingerprint=sample.fingerprint,
        is_provisional=choice.is_provisional,
        novelty_limit=limit.limit if limit is not None else None,
        figures=json.dumps(details, allow_nan=False),
        created_by=(actor := named_or_user(actor)),
        created_at=now,
    )
    session.add(point)
    session.flush()
    basis = f"draw {sample.draw}" if sample.draw is not None else "a labelled folder"
    audit.record(
        session, actor, "calibrate fit", f"point {point.id} of {source}: {len(readings)} words of {basis}", at=now
    )
    return Fitted(point.id, source, manifest.version, goal, choice, sample, rows, limit)


def _translated(manifest: Manifest, choice: Choice) -> float | None:
    """The version's own threshold on the point's scale; None where every image or none is above it."""
    own = manifest.calibration
    if not 0 < manifest.threshold < 1 or own.slope == 0:
        return None
    logit = (float(np.log(manifest.threshold / (1 - manifest.threshold))) - own.intercept) / own.slope
    return choice.line.probability(logit)
