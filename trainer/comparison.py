"""Two versions on the same labelled images: each one's figures, and where they disagree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import WrongSettings
from shared.models.registry import Loaded
from shared.statistics.paired import mcnemar
from trainer import evaluation
from trainer.evaluation import Evaluation, Reading
from trainer.listing import Listing


@dataclass(frozen=True)
class Disagreement:
    """Of the images of one kind, how many each version alone answered rightly, and how probable that is by chance.

    p_value: of McNemar's exact test, see `shared.statistics.paired.mcnemar`.
    """

    images: int
    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p_value: float


@dataclass(frozen=True)
class Compared:
    """Both evaluations, and the disagreement among the ill, the healthy and all images."""

    first: Evaluation
    second: Evaluation
    disagreement: dict[str, Disagreement]

    def report(self) -> dict[str, Any]:
        """What `models compare --format json` prints of the images."""
        return {
            "first": self.first.report(),
            "second": self.second.report(),
            "disagreement": {name: vars(found) for name, found in self.disagreement.items()},
        }


def compare(
    first: Loaded, second: Loaded, listed: Listing, reading: Reading, advance: Callable[[int], object]
) -> Compared:
    """Screen labelled files by both versions; raises WrongSettings where a class is missing or the files change."""
    evaluated = [evaluation.evaluate(loaded, listed, reading, advance) for loaded in (first, second)]
    mine, theirs = (each.answers for each in evaluated)
    if evaluated[0].digests != evaluated[1].digests:
        raise WrongSettings("The images changed while they were read: try again.")
    is_ill = mine.labels == 1
    right = [answers.decisions == is_ill for answers in (mine, theirs)]
    kinds = {"PNEUMONIA": is_ill, "NORMAL": ~is_ill, "all": np.ones(len(mine), dtype=np.bool_)}
    found = {name: disagreement(right[0][rows], right[1][rows]) for name, rows in kinds.items()}
    return Compared(evaluated[0], evaluated[1], found)


def disagreement(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Disagreement:
    """Of whether two versions were right, each of shape (n,)."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    both_right, both_wrong = int((first & second).sum()), int((~first & ~second).sum())
    return Disagreement(len(first), both_right, only_first, only_second, both_wrong, mcnemar(only_first, only_second))
