"""What thresholds mean at a source: recall, specificity, predictive values, flagged and missed, with intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.statistics.intervals import LEVEL, clopper_pearson, draw_patients
from shared.statistics.operating_point import ROUNDS, Mask, Readings
from shared.statistics.platt import Floats, Line, effective_number

RECALLS = (1.0, 0.99, 0.975, 0.95, 0.9, 0.8)
"""Of the words: the highest threshold that reaches each has a row."""
NAMES = ("recall", "specificity", "ppv", "npv", "flagged", "missed")


@dataclass(frozen=True)
class Share:
    """A share, 0 to 1, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Share":
        return Share(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Row:
    """One threshold; a share is None where nothing in the words tells it.

    flagged: share of all images called PNEUMONIA; missed: share of all images that are ill and called NORMAL.
    """

    name: str
    threshold: float
    recall: Share | None
    specificity: Share | None
    ppv: Share | None
    npv: Share | None
    flagged: Share | None
    missed: Share | None


def tabulate(
    readings: Readings,
    line: Line,
    thresholds: dict[str, float],
    prevalence: float | None = None,
    seed: int = 0,
) -> tuple[Row, ...]:
    """Rows for named thresholds on the line's probability, and for those that reach each of RECALLS; ascending.

    Weighted by one over the probability of being drawn, so that the shares are those of all images that were drawn
    from; `prevalence` replaces the words' own share of ill images. Intervals are those of a percentile bootstrap over
    patients, and exact ones (Clopper & Pearson, 1934) on the effective number where all rounds agree.
    """
    scores = line.probabilities(readings.logits)
    weights = readings.weights if prevalence is None else readings.with_share(prevalence)
    named = [(threshold, name) for name, threshold in thresholds.items()]
    taken = set(thresholds.values())
    for recall in RECALLS:
        threshold = _reaching(scores, readings, recall)
        if threshold not in taken:
            taken.add(threshold)
            named.append((threshold, f"recall {recall:g}"))
    counts = np.concatenate(list(draw_patients(readings.patients, ROUNDS, seed)))
    drawn = np.concatenate([np.ones((1, len(readings))), counts]) * weights
    return tuple(_row(name, threshold, scores, readings, drawn) for threshold, name in sorted(named))


def _reaching(scores: Floats, readings: Readings, recall: float) -> float:
    ill = readings.is_ill
    order = np.argsort(-scores[ill], kind="stable")
    weights = readings.weights[ill][order]
    place = int(np.searchsorted(np.cumsum(weights), recall * weights.sum() * (1 - 1e-12)))
    return float(scores[ill][order][min(place, len(order) - 1)])


def _row(name: str, threshold: float, scores: Floats, readings: Readings, drawn: Floats) -> Row:
    """`drawn` holds weights, shape (1 + rounds, n), the first row being those of the words themselves."""
    ill, called = readings.is_ill, scores >= threshold
    everything = np.ones(len(readings), dtype=np.bool_)
    parts = {
        "recall": (ill & called, ill),
        "specificity": (~ill & ~called, ~ill),
        "ppv": (ill & called, called),
        "npv": (~ill & ~called, ~called),
        "flagged": (called, everything),
        "missed": (ill & ~called, everything),
    }
    shares: dict[str, Share | None] = {}
    patients = np.unique(np.asarray(readings.patients), return_inverse=True)[1]
    for key, (part, whole) in parts.items():
        shares[key] = _share(drawn, part, whole, patients) if whole.any() else None
    return Row(name, threshold, **shares)


def _share(drawn: Floats, part: Mask, whole: Mask, patients: NDArray[np.intp]) -> Share:
    with np.errstate(invalid="ignore"):
        values = (drawn @ part.astype(np.float64)) / (drawn @ whole.astype(np.float64))
    value, rounds = float(values[0]), values[1:][np.isfinite(values[1:])]
    tail = (1 - LEVEL) / 2
    if len(rounds) and rounds.min() < rounds.max():
        low, high = np.quantile(rounds, [tail, 1 - tail])
        return Share(value, min(float(low), value), max(float(high), value))
    weights = drawn[0][whole]
    of_patients = effective_number(np.bincount(patients[whole], weights=weights).astype(np.float64))
    trials = min(of_patients, float(weights.sum() / weights.max()))
    return Share(value, *clopper_pearson(round(value, 12), trials))
