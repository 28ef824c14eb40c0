"""What a logit means for an image of a source: by the source's operating point, else by the version's own figures."""

from dataclasses import dataclass

from shared.ledger.operating_points import Applied, AppliedPoint
from shared.models.manifest import Label, Manifest, is_positive
from shared.statistics.platt import Line


@dataclass(frozen=True)
class Reading:
    line: Line
    threshold: float
    point: int | None
    """The operating point's number; None for the version's own line and threshold."""

    def read(self, logit: float) -> tuple[float, Label]:
        """The probability of PNEUMONIA, 0 to 1, and the label."""
        probability = self.line.probability(logit)
        return probability, "PNEUMONIA" if is_positive(probability, self.threshold) else "NORMAL"


def of_source(manifest: Manifest, points: Applied, source: str) -> Reading:
    point: AppliedPoint | None = points.get((source, manifest.version))
    if point is None:
        return Reading(manifest.calibration.line, manifest.threshold, None)
    return Reading(Line(point.slope, point.intercept), point.threshold, point.number)
