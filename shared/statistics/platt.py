"""Platt scaling: a line from a network's logit to the log-odds of a calibrated probability, and how it is fitted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_WORDS_FOR_SLOPE = 100
"""With fewer words the slope is the version's own: two numbers fitted to so few follow their noise."""
FOLDS = 5
REPEATS = 2
_STEPS = 100


@dataclass(frozen=True)
class Line:
    """log-odds of the probability of PNEUMONIA = slope * logit + intercept (Platt, 1999)."""

    slope: float
    intercept: float

    def probability(self, logit: float) -> float:
        """0 to 1; the one function by which a logit becomes a probability, so that thresholds mean the same to all."""
        x = self.slope * logit + self.intercept
        return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))

    def probabilities(self, logits: Floats) -> Floats:
        """The same for an array, shape (n,)."""
        return np.array([self.probability(float(logit)) for logit in logits], dtype=np.float64)


def effective_number(weights: Floats) -> float:
    """To how many equally weighted units these amount (Kish, Survey Sampling, 1965)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def choose_line(
    logits: Floats, labels: NDArray[np.uint8], weights: Floats, patients: Sequence[str], own: Line, seed: int = 0
) -> tuple[str, Line]:
    """The line that predicts words best that it was not fitted to, and what of it was fitted.

    All of shape (n,), labels 0 or 1 with both there, weights above 0. The candidates are the version's `own` line
    (`threshold`), one with another intercept (`intercept`), and from MIN_WORDS_FOR_SLOPE words on one with another
    slope too (`slope`); cross-validated over patients, by the weighted log loss. Of equals the simplest is taken.
    """
    weights = weights * (effective_number(weights) / weights.sum())
    names = ["threshold", "intercept"] + ["slope"] * (len(logits) >= MIN_WORDS_FOR_SLOPE)
    fitted = {name: _fit(name, logits, labels, weights, own, own) for name in names}
    losses = dict.fromkeys(names, 0.0)
    names_of_patients, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    folds = min(FOLDS, len(names_of_patients))
    for repeat in range(REPEATS):
        fold_of = np.random.default_rng([seed, repeat]).permutation(len(names_of_patients)) % folds
        for fold in range(folds):
            held = fold_of[patient_of] == fold
            for name in names:
                line = _fit(name, logits[~held], labels[~held], weights[~held], own, fitted[name])
                losses[name] += _loss(line, logits[held], labels[held], weights[held])
    best = min((name for name in names if fitted[name].slope > 0), key=lambda name: losses[name])
    return best, fitted[best]


def _fit(name: str, logits: Floats, labels: NDArray[np.uint8], weights: Floats, own: Line, start: Line) -> Line:
    if name == "threshold" or not 0 < labels.sum() < len(labels):
        return own
    return fit_line(logits, labels, weights, own, with_slope=name == "slope", start=start)


def fit_line(
    logits: Floats,
    labels: NDArray[np.uint8],
    weights: Floats,
    own: Line,
    *,
    with_slope: bool,
    start: Line | None = None,
) -> Line:
    """Weighted logistic regression by damped Newton steps; the intercept alone, or the slope too. Both classes needed.

    The slope is drawn towards the version's own by a normal prior of that width: words that a threshold happens to
    separate without a miss would else make it infinite.
    """
    terms = np.stack([logits * own.slope, np.ones_like(logits)], axis=1)  # in units of the version's own slope
    free = np.array([with_slope, True])
    start = start or own
    found, damping = np.array([start.slope / own.slope if with_slope else 1.0, start.intercept]), 1e-3
    penalty = np.array([1.0, 0.0])
    cost = _cost(terms, labels, weights, found, penalty)
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-np.clip(terms @ found, -500, 500)))
        gradient = terms.T @ (weights * (chances - labels)) + penalty * (found - [1.0, 0.0])
        curvature = (terms.T * (weights * chances * (1 - chances))) @ terms + np.diag(penalty)
        inner = curvature[np.ix_(free, free)] + damping * np.eye(int(free.sum()))
        step = np.zeros(2)
        step[free] = np.linalg.solve(inner, gradient[free])
        tried = found - step
        after = _cost(terms, labels, weights, tried, penalty)
        if after > cost:
            damping *= 10
            continue
        is_there = float(np.abs(step).max()) < 1e-8
        found, cost, damping = tried, after, max(damping / 10, 1e-12)
        if is_there:
            break
    return Line(float(found[0]) * own.slope, float(found[1]))


def _cost(terms: Floats, labels: NDArray[np.uint8], weights: Floats, found: Floats, penalty: Floats) -> float:
    odds = terms @ found
    likelihood = float((weights * (np.logaddexp(0.0, odds) - labels * odds)).sum())
    return likelihood + float((penalty * (found - [1.0, 0.0]) ** 2).sum()) / 2


def _loss(line: Line, logits: Floats, labels: NDArray[np.uint8], weights: Floats) -> float:
    odds = line.slope * logits + line.intercept
    return float((weights * (np.logaddexp(0.0, odds) - labels * odds)).sum())
