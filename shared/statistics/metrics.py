"""The figures of a screening test on labelled images, with intervals that account for whose images they are."""

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from shared.statistics.intervals import LEVEL, Floats, clopper_pearson, draw_patients

NAMES = ("auc", "accuracy", "recall", "specificity", "precision", "f1", "brier", "ece")
ROUNDS = 2000
BINS = 15


class Figure(TypedDict):
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Answers:
    """A version's answers on labelled images, one row each.

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

    Rounds in which a figure is undefined, as recall without a pneumonia, do not count. Where all rounds agree, the
    interval of a proportion is Clopper and Pearson's, with the patients concerned as its trials: 30 of 30 right does
    not mean certainty. Both classes must be there.
    """
    table = _Table(answers)
    (values,) = table.figures(np.ones((1, len(answers))))
    drawn = np.concatenate([table.figures(weights) for weights in draw_patients(answers.patients, rounds, seed)])
    # Resampling adds noise to every bin, which can only widen the calibration gaps. The rounds themselves tell this
    # bias; without correcting for it the interval can lie wholly above the value.
    ece = NAMES.index("ece")
    drawn[:, ece] = np.clip(drawn[:, ece] + values[ece] - drawn[:, ece].mean(), 0.0, 1.0)
    tail = (1 - LEVEL) / 2
    lows, highs = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    for name, rows in _concerned(answers).items():
        column = NAMES.index(name)
        if np.nanmin(drawn[:, column]) == np.nanmax(drawn[:, column]):
            trials = len({answers.patients[row] for row in np.flatnonzero(rows)})
            lows[column], highs[column] = clopper_pearson(float(values[column]), trials)
    return {
        name: Figure(value=float(value), low=float(low), high=float(high))
        for name, value, low, high in zip(NAMES, values, lows, highs, strict=True)
    }


def _concerned(answers: Answers) -> dict[str, NDArray[np.bool_]]:
    """Which images each proportion is a share of."""
    is_ill = answers.labels == 1
    everything = np.ones(len(answers), dtype=np.bool_)
    return {"accuracy": everything, "recall": is_ill, "specificity": ~is_ill, "precision": answers.decisions}


def auc(scores: Floats, is_ill: NDArray[np.bool_], weights: Floats | None = None) -> float | None:
    """How often an ill image scores higher than a healthy one, ties counting half; None where a class is missing.

    Exact, so that equal answers compare as equal. `weights`, shape (n,), are 1 if left out.
    """
    if is_ill.all() or not is_ill.any():
        return None
    each = np.ones(len(scores)) if weights is None else weights
    return float(_Ranking(scores, is_ill).auc(each[np.newaxis])[0])


def aucs(scores: Floats, is_ill: NDArray[np.bool_], weights: Floats) -> Floats | None:
    """The same for several weights at once, shape (rounds, n); NaN for rounds in which a class has no weight."""
    if is_ill.all() or not is_ill.any():
        return None
    with np.errstate(invalid="ignore"):
        return _Ranking(scores, is_ill).auc(weights)


def rates(decisions: NDArray[np.bool_], is_ill: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Recall and specificity; None where the class is missing."""
    recall = int(decisions[is_ill].sum()) / int(is_ill.sum()) if is_ill.any() else None
    specificity = int((~decisions)[~is_ill].sum()) / int((~is_ill).sum()) if not is_ill.all() else None
    return recall, specificity


def confusion(answers: Answers) -> dict[str, int]:
    """Numbers of images by class and decision."""
    ill = answers.labels == 1
    return {
        "true_positive": int((ill & answers.decisions).sum()),
        "false_negative": int((ill & ~answers.decisions).sum()),
        "false_positive": int((~ill & answers.decisions).sum()),
        "true_negative": int((~ill & ~answers.decisions).sum()),
    }


def value(figure: Any) -> float | None:
    """The number of a manifest's figure, which old manifests hold bare and newer ones with its interval; else None."""
    number = figure.get("value") if isinstance(figure, dict) else figure
    return float(number) if isinstance(number, int | float) and not isinstance(number, bool) else None


def bins(probabilities: Floats) -> NDArray[np.intp]:
    """Which of the `BINS` bins of equal width each probability is in, shape (n,)."""
    return np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)


class _Table:
    """Each image's contribution to the sums behind all figures, laid out so that one matrix product adds them up."""

    def __init__(self, answers: Answers) -> None:
        ill, called = answers.labels == 1, answers.decisions
        outcomes = np.stack([ill & called, ill & ~called, ~ill & called, ~ill & ~called], axis=1)
        gaps = answers.probabilities - answers.labels
        by_bin = np.zeros((len(answers), BINS))
        by_bin[np.arange(len(answers)), bins(answers.probabilities)] = gaps
        self._terms = np.concatenate([outcomes, gaps[:, np.newaxis] ** 2, by_bin], axis=1)
        self._ranking = _Ranking(answers.logits, ill)

    def figures(self, weights: Floats) -> Floats:
        """The figures of `NAMES` for weights of shape (rounds, n): shape (rounds, figures), NaN where undefined."""
        sums = weights @ self._terms
        hits, misses, alarms, clears = sums[:, :4].T
        total = hits + misses + alarms + clears
        with np.errstate(invalid="ignore"):
            return np.stack(
                [
                    self._ranking.auc(weights),
                    (hits + clears) / total,
                    hits / (hits + misses),
                    clears / (clears + alarms),
                    hits / np.maximum(hits + alarms, 1.0),  # none called positive: 0, as in scikit-learn
                    2 * hits / np.maximum(2 * hits + misses + alarms, 1.0),
                    sums[:, 4] / total,
                    np.abs(sums[:, 5:]).sum(axis=1) / total,  # Naeini, Cooper & Hauskrecht, 2015
                ],
                axis=1,
            )


class _Ranking:
    """Images in the order of their scores, for AUCs with any weights."""

    def __init__(self, scores: Floats, is_ill: NDArray[np.bool_]) -> None:
        self._order = np.argsort(scores, kind="stable")
        ordered = scores[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self._ill = is_ill[self._order]

    def auc(self, weights: Floats) -> Floats:
        """The share of pairs in the right order, ties counting half (Hanley & McNeil, 1982); shape (rounds,)."""
        ordered = weights[:, self._order]
        ill = np.add.reduceat(ordered * self._ill, self._starts, axis=1)
        healthy = np.add.reduceat(ordered * ~self._ill, self._starts, axis=1)
        below = np.cumsum(healthy, axis=1) - healthy / 2
        pairs: Floats = (ill * below).sum(axis=1) / (ill.sum(axis=1) * healthy.sum(axis=1))
        return pairs
