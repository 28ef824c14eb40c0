"""Chooses a source's operating point from words on its images: a line, and a threshold whose recall is proved."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import WorkFailed
from shared.statistics.intervals import beta_quantile, draw_patients
from shared.statistics.platt import Floats, Line, choose_line, effective_number

CONFIDENCE = 0.95
"""Of the one-sided lower bound of recall, by which a goal is proved."""
ROUNDS = 2000
FEW = 5
"""Positives below which the spread of their scores is taken from all words."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Readings:
    """Words on images, one row each, with what a version answered.

    logits: shape (n,), raw; labels: uint8, shape (n,), 0 NORMAL, 1 PNEUMONIA; weights: shape (n,), above 0, one over
    the probability of being drawn; patients: whose image each is, n of them.
    """

    logits: Floats
    labels: NDArray[np.uint8]
    weights: Floats
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_ill(self) -> Mask:
        return np.asarray(self.labels == 1, dtype=np.bool_)

    def with_share(self, prevalence: float) -> Floats:
        """Weights under which this share of the images, 0 to 1, is ill."""
        ill, healthy = self.weights[self.is_ill].sum(), self.weights[~self.is_ill].sum()
        factors = np.where(self.is_ill, prevalence / ill, (1 - prevalence) / healthy)
        return np.asarray(self.weights * factors * (ill + healthy), dtype=np.float64)


@dataclass(frozen=True)
class Choice:
    """An operating point, and what the words prove of it.

    threshold: on the line's probability; recall: among the words; recall_low: its one-sided 95 % lower bound;
    provable: the highest such bound of any threshold; effective: to how many independent positives the words amount;
    missing: about how many more, none of them missed, would prove the goal.
    """

    method: str  # threshold, intercept or slope: what was fitted
    line: Line
    threshold: float
    is_provisional: bool
    recall: float
    recall_low: float
    provable: float
    effective: float
    missing: int


def needed(goal: float) -> int:
    """How many positives without a miss prove a recall: 59 for 0.95."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(goal) - 1e-9)


def lower_bound(share: float, trials: float) -> float:
    """The one-sided 95 % lower bound of a proportion (Clopper & Pearson, 1934); `trials` need not be whole."""
    hits = share * trials
    return 0.0 if hits <= 0 else beta_quantile(1 - CONFIDENCE, hits, trials - hits + 1)


def choose(readings: Readings, goal: float, own: Line, prevalence: float | None = None, seed: int = 0) -> Choice:
    """The line that fits these words best, and the highest threshold of which they prove that its recall is `goal`.

    Where no threshold is proved, a provisional one, by which a share of `goal` of the next positives is expected to be
    found. prevalence: the share of ill images at the source, if the words' own is not it. Raises WorkFailed without a
    word of each class.
    """
    for name, rows in (("PNEUMONIA", readings.is_ill), ("NORMAL", ~readings.is_ill)):
        if not rows.any():
            raise WorkFailed(f"No word that counts says {name}: no operating point can be fitted. Review more images.")
    weights = readings.weights if prevalence is None else readings.with_share(prevalence)
    method, line = choose_line(readings.logits, readings.labels, weights, readings.patients, own, seed)
    bounds = RecallBounds(line.probabilities(readings.logits), readings, seed)
    provable = bounds.low(0)
    row = bounds.last(goal)
    if row is not None:
        return _choice(method, line, float(bounds.thresholds[row]), bounds, row, provable)
    missing = max(1, math.ceil(needed(goal) - float(bounds.effective[0]) - 1e-9))
    threshold = line.probability(_provisional_logit(readings, goal))
    row = int(np.searchsorted(bounds.thresholds, threshold, side="left"))  # never above the highest positive
    return _choice(method, line, threshold, bounds, row, provable, missing)


def _choice(
    method: str, line: Line, threshold: float, bounds: "RecallBounds", row: int, provable: float, missing: int = 0
) -> Choice:
    found = float(bounds.shares[row]), bounds.low(row), provable, float(bounds.effective[row])
    return Choice(method, line, threshold, missing > 0, *found, missing)


class RecallBounds:
    """Recall, and its lower bound, of each threshold that is the score of a positive, ascending.

    The bound is Clopper and Pearson's, which for a threshold at a positive's score is exact in spite of the choice (it
    is a tolerance limit: Wilks, 1941), on the effective number of positives; or that of a bootstrap over patients,
    where this does not degenerate and is lower. The effective number is Kish's over patients, as if a patient's images
    were all missed or all found; and no more than the total weight over the largest weight below the threshold, since
    a stratum of which few were read may hide as many misses (after Fay & Feuer, Statistics in Medicine 16, 1997).
    """

    def __init__(self, scores: Floats, readings: Readings, seed: int = 0) -> None:
        ill, weights = readings.is_ill, readings.weights
        self.thresholds = np.unique(scores[ill])
        order = np.argsort(scores, kind="stable")
        below = np.searchsorted(scores[order], self.thresholds, side="left")
        total = float(weights[ill].sum())
        self.shares = 1 - np.concatenate([[0.0], np.cumsum((weights * ill)[order])])[below] / total
        heaviest = np.maximum.accumulate(weights[order])[np.maximum(below - 1, 0)]
        of_patients = effective_number(_by_patient(weights[ill], np.asarray(readings.patients)[ill]))
        self.effective = np.minimum(of_patients, total / heaviest)
        self._bootstrapped = _bootstrap(scores, self.thresholds, readings, seed)

    def low(self, row: int) -> float:
        """The lower bound of a threshold; a higher threshold has no higher one."""
        exact = lower_bound(float(self.shares[row]), float(self.effective[row]))
        return min(exact, float(self._bootstrapped[row]))

    def last(self, goal: float) -> int | None:
        """The highest threshold whose bound reaches the goal; None where none does."""
        first, end = 0, len(self.thresholds)
        while first < end:
            middle = (first + end) // 2
            if self.low(middle) >= goal:
                first = middle + 1
            else:
                end = middle
        return first - 1 if first else None


def _by_patient(weights: Floats, patients: NDArray[np.str_]) -> Floats:
    _, patient_of = np.unique(patients, return_inverse=True)
    return np.bincount(patient_of, weights=weights).astype(np.float64)


def _bootstrap(scores: Floats, thresholds: Floats, readings: Readings, seed: int) -> Floats:
    """Lower bounds by a percentile bootstrap over patients; 1 for a threshold that misses none, where it says nothing.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.
    """
    ill = np.flatnonzero(readings.is_ill)
    ill = ill[np.argsort(scores[ill], kind="stable")]
    first = np.searchsorted(scores[ill], thresholds, side="left")[1:] - 1
    found = []
    for counts in draw_patients([readings.patients[row] for row in ill], ROUNDS, seed):
        drawn = np.cumsum(counts * readings.weights[ill], axis=1)
        found.append(1 - drawn[:, first] / drawn[:, -1:])
    bounds: Floats = np.quantile(np.concatenate(found), 1 - CONFIDENCE, axis=0)
    return np.concatenate([[1.0], bounds])


def _provisional_logit(readings: Readings, goal: float) -> float:
    """The logit from which on a share of `goal` of the next positives is expected.

    The m-th lowest of n positives leaves m of n + 1 below it on average. Where even the lowest leaves too many, the
    distribution is continued below it as a normal one.
    """
    ill = readings.is_ill
    logits, weights = readings.logits[ill], readings.weights[ill]
    trials = effective_number(_by_patient(weights, np.asarray(readings.patients)[ill]))
    order = np.argsort(logits, kind="stable")
    shares = 1 - (np.cumsum(weights[order]) - weights[order]) / weights.sum()
    enough = np.flatnonzero(shares * trials / (trials + 1) >= goal - 1e-12)
    if len(enough):
        return float(logits[order[enough[-1]]])
    spread = _spread(logits, weights) if len(logits) >= FEW else _spread(readings.logits, readings.weights)
    quantile = NormalDist().inv_cdf
    return float(logits[order[0]]) - spread * (quantile(goal) - quantile(trials / (trials + 1)))


def _spread(values: Floats, weights: Floats) -> float:
    """Their standard deviation, by the estimate without bias of its square."""
    mean, trials = float(np.average(values, weights=weights)), effective_number(weights)
    return math.sqrt(float(np.average((values - mean) ** 2, weights=weights)) * trials / max(trials - 1, 1))
