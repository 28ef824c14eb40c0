"""Shares of a sample whose images were drawn with unequal probabilities, with bounds by patient.

Each image counts with the inverse of its probability of being drawn (Horvitz & Thompson, Journal of the American
Statistical Association 47, 1952); the share of two such sums is Hajek's estimate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.statistics.intervals import clopper_pearson, draw_patients

ROUNDS = 2000
ENOUGH = 10
"""With fewer patients on either side, a bootstrap degenerates, and the exact bound is taken."""
ONE_SIDED_95 = 0.90
"""The level of a two-sided interval whose lower bound is a one-sided 95 % bound."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Share:
    """A weighted share, 0 to 1, with its interval; None where nothing is known of it."""

    value: float | None
    low: float
    high: float
    images: int
    effective: float
    """How many independent images of equal weight would say as much."""


UNKNOWN = Share(None, 0.0, 1.0, 0, 0.0)


def respond(inclusion: Floats, cells: NDArray[np.int64], is_read: Flags) -> Floats:
    """The weights of the images, shape (n,): 0 for those not read, whose part others of the same cell take over.

    Within a cell (what the system said, in one source) nobody chooses what is read first, so that those who were read
    stand for all that were drawn (weighting classes: Little & Rubin, Statistical Analysis with Missing Data, 3.3).
    """
    weights = np.where(is_read, 1 / inclusion, 0.0)
    for cell in np.unique(cells):
        mine = cells == cell
        if total := float(weights[mine].sum()):
            weights[mine] *= float((1 / inclusion[mine]).sum()) / total
    return weights


def estimate(
    hits: Flags,
    weights: Floats,
    patients: Sequence[str],
    *,
    hit_weight: float = 0.0,
    miss_weight: float = 0.0,
    level: float = ONE_SIDED_95,
    seed: int = 0,
) -> Share:
    """The weighted share of hits among images of positive weights.

    A percentile bootstrap over patients; where fewer than ENOUGH patients have a hit, or a miss, Clopper-Pearson on the
    effective number. `hit_weight` and `miss_weight` are the largest weights that a hit or a miss could have had: where
    no miss was drawn, it is of these that one may have been overlooked.
    """
    if not len(hits):
        return UNKNOWN
    value = float(weights[hits].sum() / weights.sum())
    names = np.asarray(patients)
    effective = _effective(hits, weights, names)
    if min(len(np.unique(names[hits])), len(np.unique(names[~hits]))) >= ENOUGH:
        low, high = _bootstrap(hits, weights, patients, level, seed)
    else:
        low = _exact_low(hits, weights, effective, miss_weight, level)
        high = 1 - _exact_low(~hits, weights, effective, hit_weight, level)
    return Share(value, min(low, value), max(high, value), len(hits), effective)


def _effective(hits: Flags, weights: Floats, names: NDArray[np.str_]) -> float:
    """(sum of w)^2 / sum of w^2 over patients (Kish, Survey Sampling, 1965), each side at its own mean weight.

    That hits weigh less than misses is no loss of certainty by itself: `_exact_low` reckons with it.
    """
    relative = np.ones(len(hits))
    for side in (hits, ~hits):
        if side.any():
            relative[side] = weights[side] / weights[side].mean()
    _, patient_of = np.unique(names, return_inverse=True)
    sums = np.bincount(patient_of, weights=relative)
    return float(sums.sum() ** 2 / (sums**2).sum())


def _exact_low(hits: Flags, weights: Floats, effective: float, miss_weight: float, level: float) -> float:
    """A lower bound of the share: that of the sample, as odds, times what a hit weighs to what a miss weighs.

    A miss weighs as those that were drawn and one more of the largest weight do on average (Fay & Feuer, Statistics in
    Medicine 16, 1997): an exact bound allows for one more than was seen.
    """
    if not hits.any():
        return 0.0
    low = clopper_pearson(float(hits.mean()), effective, level)[0]
    misses = weights[~hits]
    largest = max(miss_weight, float(misses.max()) if len(misses) else 0.0) or float(weights.max())
    of_miss = (float(misses.sum()) + largest) / (len(misses) + 1)
    of_hit = float(weights[hits].mean())
    return low * of_hit / (low * of_hit + (1 - low) * of_miss)


def _bootstrap(hits: Flags, weights: Floats, patients: Sequence[str], level: float, seed: int) -> tuple[float, float]:
    shares = []
    for drawn in draw_patients(patients, ROUNDS, seed):
        totals = drawn @ weights
        with np.errstate(invalid="ignore"):
            shares.append((drawn @ np.where(hits, weights, 0.0)) / totals)
    tail = (1 - level) / 2
    low, high = np.nanquantile(np.concatenate(shares), [tail, 1 - tail])
    return float(low), float(high)


def positives_needed(goal: float, weight_ratio: float = 1.0, level: float = 0.95) -> int:
    """How many positives without a miss prove a recall of `goal`, where a miss weighs `weight_ratio` times a hit."""
    odds = (1 - goal) / goal / weight_ratio
    return math.ceil(math.log(1 - level) / -math.log1p(odds))
