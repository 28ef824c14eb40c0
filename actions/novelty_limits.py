"""Fits the novelty limit of a source's operating point to the source's own images, which need no words.

A site frames, collimates and exposes in its own way: by the version's limit, which knows its training hospital alone,
most images of such a site are called unfamiliar, and a flag that is always up tells nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.database import Prediction, Sighting
from shared.models import novelty
from shared.models.manifest import Manifest

SHARE = 0.02
"""Of the source's images that may lie above its limit."""
MIN_IMAGES, MAX_IMAGES = 50, 5000
"""Of the source's newest images that the limit is fitted to."""


@dataclass(frozen=True)
class NoveltyLimit:
    """limit: None where the version's own flags few enough, or where there are too few images to tell.

    flagged: the share of the images above the version's own limit; flagged_then: above the new one.
    """

    own: float
    limit: float | None
    images: int
    flagged: float
    flagged_then: float


def limit_for(scores: NDArray[np.float64], own: float) -> float:
    """The limit for a site whose images have these scores, where the version's own limit is `own`."""
    return max(own, novelty.limit_of(scores, SHARE)) if len(scores) >= MIN_IMAGES else own


def fit(session: Session, source: str, manifest: Manifest) -> NoveltyLimit | None:
    """None for a version without a novelty check, or a source none of whose images it has screened."""
    if manifest.novelty is None:
        return None
    newest = (
        select(Prediction.unfamiliar_score)
        .join(Sighting, Sighting.prediction_id == Prediction.id)
        .where(Sighting.source == source, Sighting.finished_at.is_not(None))
        .where(Prediction.model_version == manifest.version, Prediction.unfamiliar_score.is_not(None))
        .order_by(Sighting.id.desc())
        .limit(MAX_IMAGES)
    )
    scores = np.array(session.scalars(newest).all(), dtype=np.float64)
    if not len(scores):
        return None
    own = manifest.novelty.limit
    flagged = float((scores > own).mean())
    if len(scores) < MIN_IMAGES or flagged <= SHARE:
        return NoveltyLimit(own, None, len(scores), flagged, flagged)
    limit = limit_for(scores, own)
    return NoveltyLimit(own, limit, len(scores), flagged, float((scores > limit).mean()))
