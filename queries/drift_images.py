"""The images of a source that one version answered, in the order in which they came: what drift is measured on.

The order is that of arrival, and what counts is the version's first answer, so that a rescreen changes nothing. All
reads are bounded, and by the index `ix_sightings_finished`, which leaves out what waits.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import log
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from shared.database import DicomHeader, Prediction, Resolution, Screening, Sighting, SightingState
from shared.statistics.drift import OUTSIDE, QUARANTINED, UNFAMILIAR, Count, Floats, Sample

MAX_SCANNED = 10_000
"""So many images are looked through for those of one version."""
MAX_OF_PATIENT = 20
"""A key that more images have is no patient's: some archives give everybody the same."""
_IS_REMOVED = Sighting.resolution.is_not(None) & (Sighting.resolution == Resolution.REMOVED)
MAX_LOG_ODDS = 15.0
"""A probability further from a half has lost the digits that tell its logit."""


@dataclass(frozen=True, slots=True)
class Image:
    """What a version said of an image; or that it was quarantined, and then nothing else."""

    sighting: int
    seen_at: datetime
    is_quarantined: bool
    sha256: str | None
    patient: str | None
    logit: float | None
    novelty: float | None
    unfamiliar: bool | None
    outside: bool | None
    probability: float | None
    threshold: float | None
    point: int | None


def first(session: Session, source: str, version: str, since: int, most: int) -> list[Image]:
    """The first images from the sighting `since` on, at most so many."""
    scanned = _finished(source, Sighting.id >= since).order_by(Sighting.id).limit(MAX_SCANNED)
    images = _images(source, version, _range(session, scanned))
    return [Image(*row) for row in session.execute(images.limit(most))]


def newest(session: Session, source: str, version: str, since: int, scanned: int) -> list[Image]:
    """The version's among the `scanned` newest images, but none before the sighting `since`."""
    chosen = _finished(source, Sighting.id >= since).order_by(Sighting.id.desc()).limit(scanned)
    return [Image(*row) for row in session.execute(_images(source, version, _range(session, chosen)))]


def count_after(session: Session, source: str, sighting: int, most: int) -> int:
    """How many images after this sighting are finished, by whatever version; counts no further than `most`."""
    after = _finished(source, Sighting.id > sighting).limit(most)
    return session.scalar(select(func.count()).select_from(after.subquery())) or 0


def finished_after(session: Session, source: str, sighting: int, number: int) -> datetime | None:
    """When the so manyeth image after this sighting was finished, by whatever version; None if there are fewer."""
    scanned = _finished(source, Sighting.id > sighting).order_by(Sighting.id).limit(MAX_SCANNED)
    chosen = _finished(source, Sighting.id.between(*_range(session, scanned)), ~_IS_REMOVED)
    query = chosen.with_only_columns(Sighting.finished_at).order_by(Sighting.id)
    return session.scalar(query.offset(number - 1).limit(1))


def last(session: Session, source: str) -> int:
    """The newest sighting of the source that is finished; 0 if there is none."""
    return session.scalar(_finished(source).order_by(Sighting.id.desc()).limit(1)) or 0


def first_since(session: Session, when: datetime) -> int:
    """The first sighting of any source that came at this time or later: by halving, since no index has the time."""
    low, high = 1, (session.scalar(select(func.max(Sighting.id))) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        columns = select(Sighting.id, Sighting.seen_at).where(Sighting.id >= middle)
        row = session.execute(columns.order_by(Sighting.id).limit(1)).first()
        if row is None or row.seen_at >= when:
            high = middle
        else:
            low = row.id + 1
    return low


def _finished(source: str, *conditions: ColumnElement[bool]) -> Select[int]:
    return select(Sighting.id).where(Sighting.source == source, Sighting.finished_at.is_not(None), *conditions)


def _range(session: Session, scanned: Select[int]) -> tuple[int, int]:
    """The first and the last of scanned sightings, which follow each other; 0 and 0 if there is none.

    Whoever reads what belongs to them asks for what lies between. Joined to their numbers instead, PostgreSQL may read
    all sources from the first image on.
    """
    numbers = scanned.subquery()
    low, high = session.execute(select(func.min(numbers.c.id), func.max(numbers.c.id))).one()
    return low or 0, high or 0


def _images(source: str, version: str, between: tuple[int, int]) -> Select[Any]:
    """Those of the sightings that the version answered, and the quarantined ones but for files that are gone."""
    answer, said = aliased(Screening), aliased(Prediction)
    first_answer = (
        select(func.min(answer.prediction_id))
        .join(said, said.id == answer.prediction_id)
        .where(answer.sighting_id == Sighting.id, said.model_version == version)
        .correlate(Sighting)
        .scalar_subquery()
    )
    is_first = and_(
        Screening.sighting_id == Sighting.id,
        Screening.prediction_id == first_answer,
        Screening.sighting_id.between(*between),
    )
    is_quarantined = Sighting.state == SightingState.QUARANTINED
    is_done = and_(Sighting.state == SightingState.DONE, Prediction.id.is_not(None))
    return (
        _finished(source, Sighting.id.between(*between))
        .add_columns(Sighting.seen_at, is_quarantined, Sighting.sha256, DicomHeader.patient_key)
        .add_columns(Prediction.logit, Prediction.unfamiliar_score, Screening.unfamiliar)
        .add_columns(Prediction.outside_population, Screening.probability, Screening.threshold)
        .add_columns(Screening.operating_point_id)
        .select_from(Sighting)
        .outerjoin(Screening, is_first)
        .outerjoin(Prediction, Prediction.id == Screening.prediction_id)
        .outerjoin(DicomHeader, DicomHeader.sha256 == Sighting.sha256)
        .where(or_(is_done, and_(is_quarantined, ~_IS_REMOVED)))
        .order_by(Sighting.id)
    )


def sample(images: Sequence[Image]) -> Sample:
    """What is compared of these images, but for the share of positives, which depends on where the line is.

    Quarantined images count one by one; of the others one for each patient, since a patient's images are alike.
    """
    screened = _one_each([image for image in images if not image.is_quarantined])
    return Sample(
        images=len(images),
        without_logit=sum(not image.is_quarantined and image.logit is None for image in images),
        logits=_ascending([image.logit for image in screened]),
        novelty=_ascending([image.novelty for image in screened]),
        counts={
            UNFAMILIAR: _count([image.unfamiliar for image in screened]),
            QUARANTINED: Count(sum(image.is_quarantined for image in images), len(images)),
            OUTSIDE: _count([image.outside for image in screened]),
        },
    )


def line(images: Sequence[Image]) -> float | None:
    """The raw logit from which on an image is called PNEUMONIA as the newest of these was; None if they do not tell.

    Log-odds of probabilities lie on a straight line over logits, so that two images tell which: that of the version,
    or of an operating point. Both samples are counted by the newest, else a new point would look like drift.
    """
    known = [
        (image.logit, image.probability, image.threshold, image.point)
        for image in images
        if image.logit is not None and image.probability is not None and image.threshold is not None
    ]
    if not known:
        return None
    _, _, threshold, point = known[-1]
    on_it = [(logit, _log_odds(probability)) for logit, probability, *rule in known if rule == [threshold, point]]
    points = sorted(at for at in on_it if abs(at[1]) < MAX_LOG_ODDS)
    if not points or points[0][0] == points[-1][0] or points[0][1] >= points[-1][1]:
        return None
    (x, y), (other_x, other_y) = points[0], points[-1]
    return x + (_log_odds(threshold) - y) * (other_x - x) / (other_y - y)


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-300), 1 - 1e-16)
    return log(bounded / (1 - bounded))


def _one_each(images: Sequence[Image]) -> list[Image]:
    """The first image of each patient, or of each content where no patient is known."""
    of = Counter(image.patient for image in images)
    found: dict[object, Image] = {}
    for image in images:
        is_known = image.patient is not None and of[image.patient] <= MAX_OF_PATIENT
        found.setdefault(image.patient if is_known else image.sha256, image)
    return list(found.values())


def _ascending(values: Sequence[float | None]) -> Floats:
    return np.sort(np.array([value for value in values if value is not None], dtype=np.float64))


def _count(flags: Sequence[bool | None]) -> Count:
    known = [flag for flag in flags if flag is not None]
    return Count(sum(known), len(known))
