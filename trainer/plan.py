"""What is to be trained, from what, and where: a plan, and the run that follows from it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shared import __version__
from shared.base.errors import BrokenModel
from shared.imaging import Preprocessing
from shared.models import manifest
from shared.models.engines.keras import ENGINE as KERAS
from trainer import architectures
from trainer.datasets import Dataset
from trainer.fit import Run
from trainer.listing import Site
from trainer.recipes import Recipe

FINE_TUNING = 0.1
"""Of the recipe's learning rate, so that a network keeps what it has learnt."""


@dataclass(frozen=True)
class Plan:
    """What is to be trained, and where. A second training by an equal plan goes on where the first was killed.

    work: where checkpoints, TensorBoard logs and pixels lie; out: where the version's folder goes.
    epochs: None for the recipe's own. weights: of a backbone, see `architectures.build`.
    tells_names: whether the files that are left out are named; not where the output goes to a log.
    start_from: the folder of a verified version, whose network and preprocessing are taken instead of fresh ones.
    site: how files are read, and the key under which patients of DICOM files are known.
    """

    architecture: str
    out: Path
    work: Path
    epochs: int | None = None
    seed: int = 1
    limit: int | None = None
    start_from: Path | None = None
    weights: architectures.Weights = None
    mixed_precision: bool = False
    command: str = "pneumoscreen train"
    tells_names: bool = True
    site: Site = field(default_factory=Site)


def preprocessing(plan: Plan) -> Preprocessing:
    """How the pixels for a plan are prepared."""
    if plan.start_from is None:
        return architectures.preprocessing(plan.architecture)
    return manifest.read(plan.start_from).preprocessing


def run_for(plan: Plan, training: Dataset) -> Run:
    """The run for a plan; other arguments, data, another recipe or release start afresh, in another folder."""
    recipe = architectures.recipe(plan.architecture)
    if plan.start_from is not None:
        recipe = replace(recipe, learning_rate=FINE_TUNING * recipe.learning_rate)
    epochs = plan.epochs or recipe.epochs
    start = "" if plan.start_from is None else f"-from-{plan.start_from.name}"
    name = f"{architectures.file_name(plan.architecture)}-{epochs}-{plan.seed}-{_fingerprint(recipe, training)}{start}"
    return Run(begin(plan), recipe, epochs, plan.seed, plan.work / name, plan.mixed_precision)


def _fingerprint(recipe: Recipe, training: Dataset) -> str:
    told = training.fingerprint(), replace(recipe, change=None), recipe.change and recipe.change.__name__, __version__
    return hashlib.sha256(repr(told).encode()).hexdigest()[:8]


def begin(plan: Plan, fresh: bool = False) -> Callable[[], Any]:
    """Builds the network to start from; `fresh` means that its weights do not matter, and are not fetched."""

    def start() -> Any:
        if plan.start_from is None:
            return architectures.build(plan.architecture, None if fresh else plan.weights)
        import keras

        export = manifest.read(plan.start_from).export(KERAS.name)
        if export is None:
            raise BrokenModel(f"the version in {plan.start_from} is not a Keras network: it cannot be fine-tuned")
        return keras.saving.load_model(plan.start_from / export.file, compile=False, safe_mode=True)

    return start


def command(plan: Plan) -> str:
    """The command that makes this version again, without its folders."""
    epochs = plan.epochs or architectures.recipe(plan.architecture).epochs
    start = "" if plan.start_from is None else f" --from {plan.start_from.name}"
    subset = "" if plan.limit is None else f" --limit {plan.limit}"
    return f"{plan.command} --data DIR --epochs {epochs} --seed {plan.seed}{start}{subset}"


def parameters(plan: Plan, run: Run) -> dict[str, Any]:
    """What a record of the run says of its plan: no folder, which may be named after a person."""
    return {
        "architecture": plan.architecture,
        "epochs": run.epochs,
        "seed": plan.seed,
        "limit": plan.limit,
        "start_from": plan.start_from and plan.start_from.name,
        "mixed_precision": plan.mixed_precision,
        "learning_rate": run.recipe.learning_rate,
        "batch": run.recipe.batch,
        "optimizer": run.recipe.optimizer,
        "command": command(plan),
    }
