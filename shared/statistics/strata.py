"""Random samples within strata of score: how many strata, how many images of each, and which. NumPy alone."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRATA = 5
"""Quintiles: more than six hardly lower the variance (Cochran, Sampling Techniques, 3rd edition, section 5A.8)."""
MIN_SPREAD = 0.1
"""No stratum counts as purer than this: a version that is sure and wrong would hide its misses where nobody looks."""
GOAL, LEVEL = 0.95, 0.95

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """`chosen` are indices into the population, in a random order; `inclusion` is of each of them."""

    chosen: Numbers
    inclusion: Floats


def positives_needed(goal: float = GOAL, level: float = LEVEL) -> int:
    """How many positives without a miss prove a recall of `goal`: 59 for 0.95, since 0.95 ** 59 is below 0.05.

    Clopper & Pearson, 1934: of n successes in n trials, the one-sided lower bound is (1 - level) ** (1 / n).
    """
    return math.ceil(math.log(1 - level) / math.log(goal))


def stratify(probabilities: Floats, further: Floats, count: int = STRATA) -> Numbers:
    """The stratum of each image, 0 for the lowest scores: quantiles by rank, so that equal scores are parted, too.

    `further` orders images of one probability, such as the logits where probabilities are saturated.
    """
    ranks = np.empty(len(probabilities), np.int64)
    ranks[np.lexsort((further, probabilities))] = np.arange(len(probabilities))
    return np.asarray(ranks * min(count, len(ranks)) // max(1, len(ranks)))


def allocate(strata: Numbers, probabilities: Floats, size: int) -> Numbers:
    """How many images of each stratum to draw, at least one, at most all.

    By size and by the spread of the expected labels (Neyman, Journal of the Royal Statistical Society 97, 1934), which
    is bounded: the weights of two strata differ by a factor of 5/3 at most, unless one is drawn as a whole. What is
    drawn seldom weighs much, and a single miss in it costs as much of the bound.
    """
    counts, shares = _describe(strata, probabilities)
    bounded = np.clip(shares, MIN_SPREAD, 1 - MIN_SPREAD)
    weights = counts * np.sqrt(bounded * (1 - bounded))
    size = min(max(size, len(counts)), int(counts.sum()))
    sizes = np.ones(len(counts), np.int64)
    while (left := size - int(sizes.sum())) > 0:
        room = np.where(sizes < counts, weights, 0.0)
        wanted = size * room / room.sum() - np.where(room > 0, sizes, 0)
        share = np.maximum(wanted, 0.0) if wanted.max() > 0 else room
        added = np.minimum(np.floor(left * share / share.sum()).astype(np.int64), counts - sizes)
        if not added.any():
            added[int(np.argmax(share))] = 1
        sizes += added
    return sizes


def size_for(strata: Numbers, probabilities: Floats, positives: int) -> int:
    """The smallest sample in which so many positives are expected, by the probabilities; all, if there are too few."""
    _, shares = _describe(strata, probabilities)
    low, high = 1, len(strata)
    while low < high:
        middle = (low + high) // 2
        if float(allocate(strata, probabilities, middle) @ shares) >= positives:
            high = middle
        else:
            low = middle + 1
    return low


def expected_positives(strata: Numbers, probabilities: Floats, sizes: Numbers) -> float:
    return float(sizes @ _describe(strata, probabilities)[1])


def draw(strata: Numbers, sizes: Numbers, seed: int) -> Sample:
    """A simple random sample of each stratum, without replacement; all in one random order."""
    generator = np.random.default_rng(seed)
    chosen, inclusion = [], []
    for stratum, size in enumerate(sizes):
        members = np.flatnonzero(strata == stratum)
        chosen.append(generator.choice(members, int(size), replace=False))
        inclusion.append(np.full(int(size), size / len(members)))
    order = generator.permutation(int(sizes.sum()))
    return Sample(np.concatenate(chosen)[order], np.concatenate(inclusion)[order])


def _describe(strata: Numbers, probabilities: Floats) -> tuple[Numbers, Floats]:
    """Size and expected share of positives of each stratum."""
    counts = np.bincount(strata)
    return counts, np.bincount(strata, weights=probabilities) / counts
