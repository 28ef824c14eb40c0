"""The fits of one training: that of the published network and, where too few patients are held out, those of folds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from shared.models import manifest, training_images
from trainer import cross_validation, fit
from trainer.datasets import Dataset
from trainer.plan import Plan, run_for


class Fits:
    """model and run: those of the network that is published; works: the folders of all fits, with their checkpoints."""

    def __init__(self, plan: Plan, training: Dataset, validation: Dataset, console: Console) -> None:
        self.plan, self.training, self.validation, self.console = plan, training, validation, console
        self.monitored = validation if len(validation) else training
        """Whose loss is written down; nothing depends on it where the patients are crossed."""
        self.run = run_for(plan, training)
        self.works = [self.run.work]
        self.model: Any = None

    def direct(self) -> NDArray[np.float64]:
        """Fit to the training patients; the logits of those held out, shape (n,)."""
        self.model = fit.fit(self.run, self.training, self.validation, self.console)
        return fit.logits(self.model, self.validation.pixels)

    def cross(self, held_out: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The same, and the training patients' logits by networks of folds; for all rows, shape (n,)."""
        best: list[int] = []

        def predict(number: int, others: Dataset, fold: Dataset) -> NDArray[np.float64]:
            run = run_for(self.plan, others)
            self.works.append(run.work)
            self.console.print(f"cross-validation by patient: fold {number} of {cross_validation.FOLDS}")
            network = fit.fit(run, others, fold, self.console)
            best.append(cross_validation.best_epoch(run))
            return fit.logits(network, fold.pixels)

        logits = np.empty(len(held_out))
        logits[~held_out] = cross_validation.predict(self.training, predict)
        self.run = cross_validation.final_run(self.run, best)
        self.console.print("the network that is published, fitted to all of them")
        self.model = fit.fit(self.run, self.training, self.monitored, self.console)
        if held_out.any():
            logits[held_out] = fit.logits(self.model, self.validation.pixels)
        return logits


def has_seen(plan: Plan, training: Dataset, console: Console) -> bool:
    """Whether the version to start from knows images that the folds' networks, which start from it, would be tried on.

    The fixed split is safe from that, since no version was fitted to patients who are held out by it.
    """
    if plan.start_from is None:
        return False
    described = manifest.read(plan.start_from)
    seen = training_images.count(training_images.read(plan.start_from, described), training.digests)
    if seen:
        console.print(
            f"{described.version} was fitted to {seen} of these images: no cross-validation, which it would pass "
            "knowing them",
            soft_wrap=True,
        )
    elif seen is None:
        console.print(
            f"{described.version} does not tell which images it was fitted to: if these are among them, the figures "
            "of a cross-validation are too good",
            soft_wrap=True,
        )
    return bool(seen)
