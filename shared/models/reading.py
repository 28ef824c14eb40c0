"""What a logit means for an image of a source: by the source's operating point, else by the version's own figures."""

from dataclasses import dataclass

from shared.ledger.operating_points import Applied, AppliedPoint
from shared.models import novelty
from shared.models.manifest import Label, Manifest, is_positive
from shared.statistics.platt import Line


@dataclass(frozen=True)
class Reading:
    line: Line
    threshold: float
    point: int | None
    """The operating point's number; None for the version's own line and threshold."""
    novelty_limit: float | None = None
    """Above which a novelty score means unfamiliar; None for a version without a check."""

    def read(self, logit: float) -> tuple[float, Label]:
        """The probability of PNEUMONIA, 0 to 1, and the label."""
        probability = self.line.probability(logit)
        return probability, "PNEUMONIA" if is_positive(probability, self.threshold) else "NORMAL"

    def is_unfamiliar(self, score: float | None) -> bool | None:
        """Whether an image with this novelty score is unlike what is known; None where there is no check."""
        return None if score is None or self.novelty_limit is None else novelty.exceeds(score, self.novelty_limit)


def of_source(manifest: Manifest, points: Applied, source: str) -> Reading:
    point: AppliedPoint | None = points.get((source, manifest.version))
    own = manifest.novelty.limit if manifest.novelty else None
    if point is None:
        return Reading(manifest.calibration.line, manifest.threshold, None, own)
    limit = own if own is None or point.novelty_limit is None else point.novelty_limit
    return Reading(Line(point.slope, point.intercept), point.threshold, point.number, limit)
