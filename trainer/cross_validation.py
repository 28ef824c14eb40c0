"""Figures for a set that is too small to hold a part of it out: each patient by a network fitted to other patients.

The patients held out by the fixed split stay held out: neither the published network nor one of a fold is fitted to
them. The published network measures these, the networks of the folds all others, and are then forgotten.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from actions.verdict import MIN_PATIENTS
from trainer import fit
from trainer.datasets import CLASSES, Dataset, select
from trainer.fit import Run

FOLDS = 5
MIN_HELD_OUT = MIN_PATIENTS
"""Patients of each class, as the gate wants: a side with fewer is too small to measure on."""

Floats = NDArray[np.float64]
Predict = Callable[[int, Dataset, Dataset], Floats]
"""Takes the number of the fold, from 1; fits to the first set, and returns the logits of the second."""


def is_needed(held_out: Dataset) -> bool:
    return min(count_patients(held_out)) < MIN_HELD_OUT


def count_patients(data: Dataset) -> tuple[int, ...]:
    """Patients with an image of each class."""
    return tuple(
        len({patient for patient, label in zip(data.patients, data.labels, strict=True) if label == number})
        for number, _ in enumerate(CLASSES)
    )


def folds(data: Dataset) -> Iterator[NDArray[np.bool_]]:
    """Masks, shape (n,), of the rows that are measured: each patient is in one of them, the classes spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer images than folds, which is checked
        for _, rows in splitter.split(data.labels, data.labels, groups=np.asarray(data.patients)):
            mask = np.zeros(len(data), dtype=np.bool_)
            mask[rows] = True
            yield mask


def predict(data: Dataset, fit_and_predict: Predict) -> Floats:
    """Logits of every row, shape (n,), each by a network that its patient's images had no part in."""
    logits = np.full(len(data), np.nan)
    for number, rows in enumerate(folds(data), 1):
        logits[rows] = fit_and_predict(number, select(data, ~rows), select(data, rows))
    return logits


def final_run(run: Run, best_epochs: list[int]) -> Run:
    """How the published network is fitted: nobody is left to choose its best epoch on, so it is that of the folds."""
    recipe = run.recipe
    if not (recipe.keeps_best or recipe.stop_patience or recipe.reduce_patience):
        return run
    blind = replace(recipe, keeps_best=False, stop_patience=None, reduce_patience=None)
    return replace(run, recipe=blind, epochs=max(1, round(float(np.median(best_epochs)))))


def best_epoch(run: Run) -> int:
    """Of a run that is over, counted from 1."""
    values = fit.losses(run.work / fit.HISTORY)
    return len(values) - fit.epochs_since_best(values)
