"""Measures a challenger beside another version on the same images, and says whether what counts is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.models.manifest import is_positive
from shared.statistics.intervals import Floats
from shared.statistics.metrics import auc
from shared.statistics.paired import Difference, measure_difference

MIN_DIFFERENCE = -0.01
"""The least that the lower bound of the difference in recall may be."""
MIN_SPECIFICITY_DIFFERENCE = -0.05
"""The least that the lower bound of the difference in specificity from the champion may be."""


@dataclass(frozen=True)
class Side:
    """One version's calibrated probabilities on the images, shape (n,), and its own threshold."""

    version: str
    probabilities: Floats
    threshold: float

    @property
    def decisions(self) -> NDArray[np.bool_]:
        return is_positive(self.probabilities, self.threshold)


@dataclass(frozen=True)
class Ground:
    """What versions are compared on: labels 0 NORMAL or 1 PNEUMONIA, shape (n,), and whose image each is.

    weights: above 0, shape (n,); how many images of the traffic each stands for. origins: where the images come from,
    a sentence each.
    """

    labels: NDArray[np.uint8]
    patients: Sequence[str]
    weights: Floats | None = None
    origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figures:
    """One version on the images; recall and specificity at its own threshold."""

    version: str
    threshold: float
    recall: float
    specificity: float
    auc: float


@dataclass(frozen=True)
class EqualRecall:
    """The challenger at the highest threshold with which it finds as many as the other one does at its own.

    It tells the network from the threshold: who loses specificity at its own threshold and not at this one has a
    threshold that is too low.
    """

    threshold: float
    specificity: float
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """The challenger beside a version that was live; differences are the challenger's figure less the other's."""

    other: Figures
    role: str  # champion or earlier
    recall: Difference
    specificity: Difference
    at_equal_recall: EqualRecall
    is_recall_kept: bool
    is_specificity_kept: bool  # asked of the champion alone
    is_auc_kept: bool

    @property
    def is_kept(self) -> bool:
        return self.is_recall_kept and self.is_specificity_kept and self.is_auc_kept


@dataclass(frozen=True)
class Classes:
    """The images of a ground: which are of the ill, whose they are, and what each stands for, all of shape (n,)."""

    is_ill: NDArray[np.bool_]
    patients: NDArray[np.str_]
    weights: Floats
    seed: int

    def mean(self, values: Floats | NDArray[np.bool_], rows: NDArray[np.bool_]) -> float:
        """The weighted mean of some images' values; 0 where there is none."""
        total = self.weights[rows].sum()
        return float((values[rows] * self.weights[rows]).sum() / total) if total else 0.0

    def difference(self, first: NDArray[np.bool_], second: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Difference:
        gained = first[rows].astype(np.float64) - second[rows]
        return measure_difference(gained, self.weights[rows], self.patients[rows], self.seed)


def compare(mine: Figures, challenger: Side, other: Side, role: str, classes: Classes) -> Comparison:
    theirs, is_well = measure(other, classes), ~classes.is_ill
    recall = classes.difference(challenger.decisions, other.decisions, classes.is_ill)
    specificity = classes.difference(~challenger.decisions, ~other.decisions, is_well)
    return Comparison(
        theirs,
        role,
        recall,
        specificity,
        _equal_recall(challenger, other, theirs.recall, classes),
        is_recall_kept=recall.low >= MIN_DIFFERENCE,
        is_specificity_kept=role != "champion" or specificity.low >= MIN_SPECIFICITY_DIFFERENCE,
        is_auc_kept=mine.auc >= theirs.auc,
    )


def _equal_recall(challenger: Side, other: Side, recall: float, classes: Classes) -> EqualRecall:
    """The threshold is chosen on these very images, and its own uncertainty is no part of the bounds."""
    is_well, ill = ~classes.is_ill, challenger.probabilities[classes.is_ill]
    order = np.argsort(-ill, kind="stable")
    found = np.cumsum(classes.weights[classes.is_ill][order])
    enough = np.flatnonzero(found >= recall * found[-1] * (1 - 1e-12)) if len(found) else np.array([], np.intp)
    threshold = float(ill[order][enough[0]]) if len(enough) else challenger.threshold
    calls_well = ~is_positive(challenger.probabilities, threshold)
    difference = classes.difference(calls_well, ~other.decisions, is_well)
    return EqualRecall(threshold, classes.mean(calls_well, is_well), difference)


def measure(side: Side, classes: Classes) -> Figures:
    return Figures(
        side.version,
        float(side.threshold),
        recall=classes.mean(side.decisions, classes.is_ill),
        specificity=classes.mean(~side.decisions, ~classes.is_ill),
        auc=auc(side.probabilities, classes.is_ill, classes.weights) or 0.0,
    )
