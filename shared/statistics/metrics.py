"""The figures of a screening test on labelled images, each with an interval that knows whose images they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

NAMES = ("auc", "accuracy", "recall", "specificity", "precision", "f1", "brier", "ece")
ROUNDS = 2000
LEVEL = 0.95
BINS = 15

_CELLS = 2_000_000  # so many weights are held at a time: a large folder takes longer, not more memory

Floats = NDArray[np.float64]


class Figure(TypedDict):
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Answers:
    """What a version said about labelled images, one row each.

    labels: uint8, shape (n,), 0 NORMAL, 1 PNEUMONIA; logits: float64, shape (n,); probabilities: float64, shape (n,),
    calibrated, 0 to 1; decisions: bool, shape (n,), true for PNEUMONIA; patients: whose image each is, n of them.
    """

    labels: NDArray[np.uint8]
    logits: Floats
    probabilities: Floats
    decisions: NDArray[np.bool_]
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def measure(answers: Answers, rounds: int = ROUNDS, seed: int = 0) -> dict[str, Figure]:
    """The figures of `NAMES`, 0 to 1, pneumonia being positive, with percentile bootstrap intervals.

    Patients are drawn, not images (Efron & Tibshirani, 1993, chapters 8 and 13): images of one patient are alike, and
    drawing them one by one would pretend to know more. Rounds in which a figure has no meaning, as recall without a
    pneumonia, do not count. Both classes must be there.
    """
    table = _Table(answers)
    (values,) = table.figures(np.ones((1, len(answers))))
    drawn = np.concatenate([table.figures(weights) for weights in _draws(answers.patients, rounds, seed)])
    # Drawing adds noise to every bin and so only ever widens the gaps of calibration: without that bias, which is
    # known from the rounds themselves, the interval can lie wholly above the value.
    ece = NAMES.index("ece")
    drawn[:, ece] = np.clip(drawn[:, ece] + values[ece] - drawn[:, ece].mean(), 0.0, 1.0)
    tail = (1 - LEVEL) / 2
    lows, highs = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return {
        name: Figure(value=float(value), low=float(low), high=float(high))
        for name, value, low, high in zip(NAMES, values, lows, highs, strict=True)
    }


def confusion(answers: Answers) -> dict[str, int]:
    """How many images of each class were called what."""
    ill = answers.labels == 1
    return {
        "true_positive": int((ill & answers.decisions).sum()),
        "false_negative": int((ill & ~answers.decisions).sum()),
        "false_positive": int((~ill & answers.decisions).sum()),
        "true_negative": int((~ill & ~answers.decisions).sum()),
    }


def value(figure: Any) -> float | None:
    """The number of a manifest's figure: older manifests hold it bare, newer ones with its interval; else None."""
    number = figure.get("value") if isinstance(figure, dict) else figure
    return float(number) if isinstance(number, int | float) and not isinstance(number, bool) else None


def bins(probabilities: Floats) -> NDArray[np.intp]:
    """Which of the `BINS` bins of equal width each probability is in, shape (n,)."""
    return np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)


def _draws(patients: tuple[str, ...], rounds: int, seed: int) -> Iterator[Floats]:
    """Weights of the images, shape (some rounds, n): how often their patient was drawn, with replacement."""
    generator = np.random.default_rng(seed)
    names, whose = np.unique(np.asarray(patients), return_inverse=True)
    at_a_time = max(1, _CELLS // len(patients))
    for start in range(0, rounds, at_a_time):
        count = min(at_a_time, rounds - start)
        drawn = generator.integers(len(names), size=(count, len(names)))
        drawn += np.arange(count)[:, np.newaxis] * len(names)
        counts = np.bincount(drawn.ravel(), minlength=count * len(names)).reshape(count, len(names))
        yield counts[:, whose].astype(np.float64)


class _Table:
    """What each image adds to the sums that all figures are made of, laid out so that a matrix product sums them."""

    def __init__(self, answers: Answers) -> None:
        ill, called = answers.labels == 1, answers.decisions
        outcomes = np.stack([ill & called, ill & ~called, ~ill & called, ~ill & ~called], axis=1)
        gaps = answers.probabilities - answers.labels
        by_bin = np.zeros((len(answers), BINS))
        by_bin[np.arange(len(answers)), bins(answers.probabilities)] = gaps
        self._terms = np.concatenate([outcomes, gaps[:, np.newaxis] ** 2, by_bin], axis=1)
        self._order = np.argsort(answers.logits, kind="stable")
        logits = answers.logits[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], logits[1:] != logits[:-1]]))
        self._ill = ill[self._order]

    def figures(self, weights: Floats) -> Floats:
        """The figures of `NAMES` for weights of shape (rounds, n): shape (rounds, figures), NaN without meaning."""
        sums = weights @ self._terms
        found, missed, alarms, cleared = sums[:, :4].T
        total = found + missed + alarms + cleared
        with np.errstate(invalid="ignore"):
            return np.stack(
                [
                    self._auc(weights),
                    (found + cleared) / total,
                    found / (found + missed),
                    cleared / (cleared + alarms),
                    found / np.maximum(found + alarms, 1.0),  # none called positive: 0, as scikit-learn has it
                    2 * found / np.maximum(2 * found + missed + alarms, 1.0),
                    sums[:, 4] / total,
                    np.abs(sums[:, 5:]).sum(axis=1) / total,  # Naeini, Cooper & Hauskrecht, 2015
                ],
                axis=1,
            )

    def _auc(self, weights: Floats) -> Floats:
        """The share of pairs that stand in the right order, ties counting half (Hanley & McNeil, 1982)."""
        ordered = weights[:, self._order]
        ill = np.add.reduceat(ordered * self._ill, self._starts, axis=1)
        healthy = np.add.reduceat(ordered * ~self._ill, self._starts, axis=1)
        below = np.cumsum(healthy, axis=1) - healthy / 2
        pairs: Floats = (ill * below).sum(axis=1) / (ill.sum(axis=1) * healthy.sum(axis=1))
        return pairs
