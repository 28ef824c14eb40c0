"""Intervals: bootstrap over patients, and Clopper-Pearson where a bootstrap degenerates. NumPy and `math` alone."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_CELLS = 2_000_000  # weights held at a time: a large folder takes longer, not more memory
_TINY = 1e-300
_MAX_TERMS = 10_000

Floats = NDArray[np.float64]


def draw_patients(patients: Sequence[str], rounds: int, seed: int) -> Iterator[Floats]:
    """Bootstrap weights of the images, shape (some rounds, n): how often each image's patient was drawn.

    Patients are drawn with replacement, not images (Efron & Tibshirani, 1993, chapters 8 and 13): the images of one
    patient are alike, and drawing them one by one would claim more certainty than there is.
    """
    generator = np.random.default_rng(seed)
    names, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    at_a_time = max(1, _CELLS // len(patients))
    for start in range(0, rounds, at_a_time):
        count = min(at_a_time, rounds - start)
        drawn = generator.integers(len(names), size=(count, len(names)))
        drawn += np.arange(count)[:, np.newaxis] * len(names)
        counts = np.bincount(drawn.ravel(), minlength=count * len(names)).reshape(count, len(names))
        yield counts[:, patient_of].astype(np.float64)


def clopper_pearson(share: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a proportion `share`, 0 to 1, of so many independent trials.

    Source: Clopper & Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
    Biometrika 26, 1934. `share * trials` need not be whole: for clustered data the number of clusters stands for the
    number of trials (Korn & Graubard, Survey Methodology 24, 1998, with the most cautious effective sample size).
    """
    successes, tail = share * trials, (1 - level) / 2
    low = 0.0 if successes <= 0 else beta_quantile(tail, successes, trials - successes + 1)
    high = 1.0 if successes >= trials else beta_quantile(1 - tail, successes + 1, trials - successes)
    return low, high


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The quantile of a beta distribution, by bisection of its distribution function."""
    low, high = 0.0, 1.0
    while high - low > 1e-15:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if incomplete_beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, 0 to 1, for x from 0 to 1 and positive a and b.

    Source: the continued fraction of Press et al., Numerical Recipes, third edition, section 6.4.
    """
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # there the fraction of the mirrored function converges faster
        return 1.0 - incomplete_beta(1.0 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) * _continued_fraction(x, a, b) / a


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Evaluated by Lentz's method."""
    c, d = 1.0, 1.0 / _nonzero(1.0 - (a + b) * x / (a + 1))
    total = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _nonzero(1.0 + term * d)
            c = _nonzero(1.0 + term / c)
            total *= d * c
        if abs(d * c - 1.0) < 1e-15:
            break
    return total


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
