"""Two versions on the same images: how far their answers differ, how surely, and how many more patients would tell."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from shared.statistics.intervals import Floats

ROUNDS = 4000
_CHUNK = 500
LEVEL = 0.95
"""Of each bound by itself, since it is one side that is to be proved."""
POWER = 0.8
"""How often as many patients as are asked for would prove it, if the difference is what was seen."""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, -1 to 1, with one-sided 95 % bounds and its standard error, by patient.

    patients: on how many it rests.
    """

    value: float
    low: float
    high: float
    error: float
    patients: int


def measure_difference(differences: Floats, weights: Floats, patients: NDArray[np.str_], seed: int) -> Difference:
    """The weighted mean of `differences`, each -1 to 1, shape (n,), of images of these patients; weights above 0.

    The bounds are those of a percentile bootstrap over patients (Efron & Tibshirani, An Introduction to the Bootstrap,
    1993, chapters 8 and 13), since a patient's images are alike. Where there is no image they are -1 and 1.
    """
    _, patient_of = np.unique(patients, return_inverse=True)
    sizes = np.bincount(patient_of, weights=weights)
    count = len(sizes)
    if not count:
        return Difference(0.0, -1.0, 1.0, 1.0, 0)
    sums = np.bincount(patient_of, weights=differences * weights)
    generator, means = np.random.default_rng(seed), []
    for _ in range(0, ROUNDS, _CHUNK):
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=_CHUNK)
        means.append((drawn @ sums) / (drawn @ sizes))
    drawn_means = np.concatenate(means)
    low, high = np.quantile(drawn_means, [1 - LEVEL, LEVEL])
    value = float(sums.sum() / sizes.sum())
    return Difference(value, float(low), float(high), float(drawn_means.std()), count)


def patients_needed(difference: Difference, least: float) -> int | None:
    """How many patients would prove, with a power of POWER, that the difference is at least `least`, if it is as seen.

    None where the difference itself is no larger than that, since more patients would not help, and where it rests on
    nobody. The arithmetic is that of
    Liu, Hsueh, Hsieh & Chen, Tests for equivalence or non-inferiority for paired binary data, Statistics in Medicine
    21, 2002: n = (z_0.95 + z_0.8)^2 * variance / (difference - least)^2. The variance of a patient's share in the
    difference is the square of the bootstrap's standard error times the patients that it rests on: so it accounts for
    several images of a patient, and for weights.
    """
    gap = difference.value - least
    if gap <= 0 or not difference.patients:
        return None
    normal = NormalDist()
    sum_of_quantiles = normal.inv_cdf(LEVEL) + normal.inv_cdf(POWER)
    return math.ceil(difference.patients * (sum_of_quantiles * difference.error / gap) ** 2)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test: whether two versions are right equally often.

    Takes the numbers of images that the first alone, and the second alone, answered rightly. Source: McNemar, Note on
    the sampling error of the difference between correlated proportions or percentages, Psychometrika 12, 1947, with
    the binomial distribution in place of its approximation. Images count as independent, so several images of one
    patient make the value smaller than it should be.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(total, count) for count in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << total))
