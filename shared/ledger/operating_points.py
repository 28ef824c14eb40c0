"""Which operating point is applied to a source's images: read with the claim, so that a message has one answer."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.database import OperatingPoint

IS_APPLIED = OperatingPoint.applied_at.is_not(None) & OperatingPoint.retired_at.is_(None)
PROMOTION = "promotion"
"""How `retired_because` begins where the point's version went out of service."""
Applied = dict[tuple[str, str], "AppliedPoint"]
"""By source and version."""


@dataclass(frozen=True)
class AppliedPoint:
    """The probability of PNEUMONIA is sigmoid(slope * logit + intercept); from `threshold` on it is called so."""

    number: int
    slope: float
    intercept: float
    threshold: float
    novelty_limit: float | None = None
    """Above which an image is unfamiliar; None for the version's own limit."""


def applied(session: Session) -> Applied:
    """Of all sources, in one query: they are few."""
    key = (OperatingPoint.source, OperatingPoint.model_version)
    figures = (OperatingPoint.slope, OperatingPoint.intercept, OperatingPoint.threshold, OperatingPoint.novelty_limit)
    rows = session.execute(select(*key, OperatingPoint.id, *figures).where(IS_APPLIED))
    return {
        (row.source, row.model_version): AppliedPoint(
            row.id, row.slope, row.intercept, row.threshold, row.novelty_limit
        )
        for row in rows
    }
