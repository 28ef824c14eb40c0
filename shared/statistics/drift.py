"""Whether a source's images are still what they were: two samples are compared, again and again, in NumPy alone.

Each look spends a part of a year's error, so that a source that does not change raises hardly one false alarm a year,
however often it is looked at.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SCORES, NOVELTY, POSITIVE = "scores", "novelty", "positive"
UNFAMILIAR, QUARANTINED, OUTSIDE = "unfamiliar", "quarantined", "outside_population"
KINDS = (SCORES, NOVELTY, POSITIVE, UNFAMILIAR, QUARANTINED, OUTSIDE)
"""What is compared; each has an equal part of the error."""
SHARES = (POSITIVE, UNFAMILIAR, QUARANTINED, OUTSIDE)
RISES = (UNFAMILIAR, QUARANTINED, OUTSIDE)
"""Shares of which less is no harm: these are tested for a rise alone."""

WINDOW, STEP = 300, 100
"""Images that a look compares, and new ones after which there is another look."""
REFERENCE, LEAST = 1000, 200
"""Images that are the reference for good, and images at all with which looks begin."""

ERROR = 0.02
"""The probability of one false alarm or more in a year, of all kinds together, for a source that does not change."""
YEAR, SHORTEST, LONGEST = timedelta(days=365.25), timedelta(minutes=1), timedelta(days=7)
"""What a look spends is that of the time since the last one, within these: there is one each week anyway."""
BINS, PARTS = 10, 100
MIN_SCORES = 50
"""With fewer scores on either side their distribution is not compared: the p-value is an asymptotic one."""
_FEW = 0.5
"""Stands for an image in a bin that has none: else the index would be infinite."""


@dataclass(frozen=True)
class Count:
    hits: int
    images: int

    @property
    def share(self) -> float | None:
        return self.hits / self.images if self.images else None


@dataclass(frozen=True)
class Sample:
    """What is compared of some images: raw logits and novelty scores, ascending, and counts by kind of share."""

    images: int
    logits: Floats
    novelty: Floats
    counts: Mapping[str, Count] = field(default_factory=dict)
    without_logit: int = 0
    """Screened images that neither scores nor positives are compared of."""

    def as_json(self) -> str:
        counts = {kind: [count.hits, count.images] for kind, count in self.counts.items()}
        scores = {"logits": self.logits.round(4).tolist(), "novelty": self.novelty.round(4).tolist()}
        numbers = {"images": self.images, "without_logit": self.without_logit}
        return json.dumps({**numbers, **scores, "counts": counts})

    @classmethod
    def from_json(cls, text: str) -> "Sample":
        stored = json.loads(text)
        counts = {kind: Count(*numbers) for kind, numbers in stored["counts"].items()}
        logits, novelty = (np.array(stored[name], dtype=np.float64) for name in ("logits", "novelty"))
        return cls(stored["images"], logits, novelty, counts, stored["without_logit"])


@dataclass(frozen=True)
class Scores:
    """How two distributions compare: population stability index, and the p-value of the two-sample test."""

    psi: float
    p_value: float


@dataclass(frozen=True)
class Share:
    now: Count
    reference: Count
    p_value: float


@dataclass(frozen=True)
class Comparison:
    level: float
    """A p-value up to it is an alarm."""
    scores: Scores | None  # None with fewer than MIN_SCORES on a side
    novelty: Scores | None
    shares: Mapping[str, Share]

    @property
    def alarms(self) -> tuple[str, ...]:
        """The kinds that are out of the ordinary."""
        p_values = {kind: share.p_value for kind, share in self.shares.items()}
        p_values |= {kind: of.p_value for kind, of in ((SCORES, self.scores), (NOVELTY, self.novelty)) if of}
        return tuple(kind for kind in KINDS if p_values.get(kind, 1.0) <= self.level)


def window_size(images: int) -> int:
    """How many of a source's first so many images, at least LEAST, are compared with the others."""
    return min(WINDOW, images // 2)


def count_positives(sample: Sample, line: float) -> Sample:
    """The sample with its share of positives: of images whose raw logit is `line` or more."""
    count = Count(int((sample.logits >= line).sum()), len(sample.logits))
    return replace(sample, counts={**sample.counts, POSITIVE: count})


def spend(since: datetime, until: datetime) -> float:
    """The level of one test in a look at `until`, where the last one was at `since`.

    Source: Lan & DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70, 1983, with the spending
    function that is linear in time (Lan & DeMets, Changing frequency of interim analysis in sequential monitoring,
    Biometrics 45, 1989): looks need not be planned, and all looks of a year spend ERROR together. It is added up as
    Bonferroni does, over looks and kinds, so that it holds however much windows overlap and kinds depend.
    """
    span = min(max(until - since, SHORTEST), LONGEST)
    return ERROR / len(KINDS) * (span / YEAR)


def compare(reference: Sample, now: Sample, level: float) -> Comparison:
    """Compare a source's newest images with its reference, each test at `level`."""
    shares = {
        kind: Share(now.counts[kind], before, fisher(now.counts[kind], before, is_rise=kind in RISES))
        for kind, before in reference.counts.items()
        if kind in now.counts and before.images and now.counts[kind].images
    }
    scores, novelty = _scores(reference.logits, now.logits), _scores(reference.novelty, now.novelty)
    return Comparison(level, scores, novelty, shares)


def _scores(reference: Floats, now: Floats) -> Scores | None:
    if min(len(reference), len(now)) < MIN_SCORES:
        return None
    return Scores(psi(reference, now), kolmogorov_smirnov(reference, now))


def psi(reference: Floats, now: Floats) -> float:
    """Population stability index over the tenths of `reference`: sum of (p - q) ln(p / q), at least 0. Both ascend.

    Source: Siddiqi, Credit Risk Scorecards, 2006, who calls up to 0.1 no change and from 0.25 on a large one; it is
    Jeffreys' divergence (1946). Of two samples that do not differ its mean is about 9 (1/n + 1/m) (Yurdakul & Naranjo,
    Statistical properties of the population stability index, Journal of Risk Model Validation 14, 2020), so that it
    says how large a change is, and the test whether there is one.
    """
    edges = np.unique(reference[np.arange(1, BINS) * len(reference) // BINS])
    p, q = (_histogram(values, edges) for values in (reference, now))
    return float(((p - q) * np.log(p / q)).sum())


def describe(logits: Floats) -> list[float]:
    """What a version's manifest keeps of the logits of its held-out images: PARTS + 1 quantiles, ascending."""
    return [float(value) for value in np.quantile(logits, np.linspace(0, 1, PARTS + 1)).round(4)]


def _histogram(values: Floats, edges: Floats) -> Floats:
    ends = [0, *np.searchsorted(values, edges).tolist(), len(values)]
    filled = np.maximum(np.diff(ends), _FEW)
    return np.asarray(filled / filled.sum(), dtype=np.float64)


def kolmogorov_smirnov(first: Floats, second: Floats) -> float:
    """The p-value of the two-sample test of Kolmogorov and Smirnov, two-sided, asymptotic. Both samples ascend.

    Source: Smirnov, Table for estimating the goodness of fit of empirical distributions, Annals of Mathematical
    Statistics 19, 1948: P(sqrt(nm / (n + m)) D > x) tends to 2 sum (-1)^(k - 1) exp(-2 k^2 x^2). In the tail that
    decides here it is cautious: it is the bound of Wei & Dudley, Two-sample Dvoretzky-Kiefer-Wolfowitz inequalities,
    Statistics & Probability Letters 82, 2012. So it is with ties.
    """
    n, m = len(first), len(second)
    points = np.concatenate([first, second])
    below = (np.searchsorted(values, points, side="right") / len(values) for values in (first, second))
    distance = float(np.abs(np.subtract(*below)).max())
    x = math.sqrt(n * m / (n + m)) * distance
    if x < 0.2:  # where the series converges slowly; it is 1 to twelve digits
        return 1.0
    k = np.arange(1, 101)
    return float(np.clip(2 * ((-1.0) ** (k - 1) * np.exp(-2 * k**2 * x**2)).sum(), 0.0, 1.0))


def fisher(now: Count, reference: Count, *, is_rise: bool) -> float:
    """The p-value of Fisher's exact test that two shares are one; of a rise alone, or of any difference.

    Source: Fisher, Statistical Methods for Research Workers, fifth edition, 1934: given the hits of both samples
    together, those of one are hypergeometric. The reference's share is an estimate too, which a binomial test with that
    share would take for the truth. Two-sided: all outcomes that are no more probable than what happened.
    """
    hits, n, m = now.hits + reference.hits, now.images, reference.images
    outcomes = np.arange(max(0, hits - m), min(hits, n) + 1)
    logarithms = _log_choose(n, outcomes) + _log_choose(m, hits - outcomes)
    probabilities = np.exp(logarithms - logarithms.max())
    probabilities /= probabilities.sum()
    if is_rise:
        is_extreme = outcomes >= now.hits
    else:
        is_extreme = probabilities <= probabilities[now.hits - outcomes[0]] * (1 + 1e-7)
    return float(min(1.0, probabilities[is_extreme].sum()))


def _log_choose(n: int, k: NDArray[np.int64]) -> Floats:
    table = _log_factorials(n)
    return np.asarray(table[n] - table[k] - table[n - k], dtype=np.float64)


@lru_cache(maxsize=64)
def _log_factorials(n: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
