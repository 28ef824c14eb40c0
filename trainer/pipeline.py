"""The whole sequence from labelled images to a model version: read, fit, examine, publish."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from shared.base.errors import BrokenModel, WorkFailed
from shared.imaging import Preprocessing
from shared.models import manifest
from shared.models.engines.keras import ENGINE as KERAS
from shared.models.manifest import Export, Manifest
from trainer import (
    adaptation,
    architectures,
    calibration,
    card,
    datasets,
    fit,
    litert_export,
    novelty,
    packaging,
    plots,
)
from trainer.datasets import Dataset
from trainer.description import Description
from trainer.fit import Run

MIN_PATIENTS = 5
"""Of each class, on either side of the split."""
FINE_TUNING = 0.1
"""Of the recipe's learning rate, so that a network keeps what it has learnt."""


@dataclass(frozen=True)
class Plan:
    """What is to be trained, and where. A second training by an equal plan goes on where the first was killed.

    work: where checkpoints, TensorBoard logs and pixels lie; out: where the version's folder goes.
    epochs: None for the recipe's own. weights: of a backbone, see `architectures.build`.
    tells_names: whether the files that are left out are named; not where the output goes to a log.
    start_from: the folder of a verified version, whose network and preprocessing are taken instead of fresh ones.
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


@dataclass(frozen=True)
class Trained:
    """A version that was trained and written, with its manifest."""

    folder: Path
    manifest: Manifest


def preprocessing(plan: Plan) -> Preprocessing:
    """How the pixels for a plan are prepared."""
    if plan.start_from is None:
        return architectures.preprocessing(plan.architecture)
    return manifest.read(plan.start_from).preprocessing


def train(plan: Plan, data: Path, console: Console, description: Description, original: Path | None = None) -> Trained:
    """From a labelled folder to a version; `original` is what `start_from` was fitted to, to measure on."""
    size = preprocessing(plan)
    everything = datasets.read(data, size, console, work=plan.work)
    before = None if original is None else datasets.read(original, size, console, work=plan.work)
    return train_on(plan, everything, description, console, before)


def train_on(
    plan: Plan, everything: Dataset, description: Description, console: Console, original: Dataset | None = None
) -> Trained:
    """From images that were read with the plan's `preprocessing` to a version.

    Raises WorkFailed where there are too few patients to fit to or to examine on.
    """
    _report_left_out(plan, everything, console)
    chosen = _choose(plan, everything)
    held_out = chosen.held_out()
    training, validation = datasets.select(chosen, ~held_out), datasets.select(chosen, held_out)
    remedy = "label more" if plan.limit is None else "label more, or allow more with --limit"
    _check(training, "to fit to", remedy)
    _check(validation, "held out to examine on", remedy)
    if original is not None:
        original = datasets.select(original, original.held_out())
        _check(original, "held out in the original data", "give more of it")
    console.print(f"fitting to {training.summary()}, holding out {validation.summary()}", soft_wrap=True)

    run = run_for(plan, training)
    model = fit.fit(run, training, validation, console)
    examination = calibration.examine(fit.logits(model, validation.pixels), validation.labels, validation.patients)
    measured = {"validation": examination.metrics}
    if plan.start_from is not None:
        measured |= adaptation.measure(
            plan.start_from, examination, lambda pixels: fit.logits(model, pixels), validation, original
        )
    check = novelty.fit_for(training, validation, preprocessing(plan))
    console.print(_describe_check(check), soft_wrap=True)
    network = _begin(plan, fresh=True)()  # never compiled: no optimizer state reaches the file
    network.set_weights(model.get_weights())
    converted = litert_export.convert(network, preprocessing(plan), validation.pixels)
    console.print(
        f"not for LiteRT: {converted}" if isinstance(converted, str) else "LiteRT runs it with TensorFlow's results",
        soft_wrap=True,
    )

    created_at = datetime.now(UTC).replace(microsecond=0)
    exports = (Export(engine=KERAS.name, file=KERAS.file),)
    data = _describe_data(everything, chosen, training, validation)

    def describe(version: str, files: dict[str, str]) -> Manifest:
        return Manifest(
            version=version,
            created_at=created_at,
            exports=exports if isinstance(converted, str) else (*exports, converted.export),
            architecture=plan.architecture,
            parameters=network.count_params(),
            preprocessing=preprocessing(plan),
            threshold=examination.threshold,
            calibration=examination.calibration,
            novelty=check.field if check else None,
            metrics=measured,
            population=description.population,
            data=description.source | data | {"command": _command(plan, run.epochs)},
            libraries=_list_libraries(),
            files=files,
        )

    steps: list[packaging.Accompany] = [] if isinstance(converted, str) else [converted.write]
    steps += [*([check.write] if check else []), plots.accompany(examination.answers), card.write]
    name = architectures.file_name(plan.architecture)
    folder = packaging.publish(plan.out, name, created_at, network.save, describe, steps)
    fit.forget(run.work)
    console.print(f"written to {folder}", soft_wrap=True)
    return Trained(folder, manifest.read(folder))


def discard(*folders: Path) -> None:
    """Remove what a run no longer needs."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _report_left_out(plan: Plan, everything: Dataset, console: Console) -> None:
    if plan.tells_names:
        for left_out in (*everything.unreadable, *everything.duplicates):
            console.print(f"left out: {left_out.path.name}: {left_out.reason}", markup=False, soft_wrap=True)
    else:
        unreadable, duplicates = len(everything.unreadable), len(everything.duplicates)
        console.print(f"left out: {unreadable} that cannot be read, {duplicates} duplicates")


def _choose(plan: Plan, everything: Dataset) -> Dataset:
    """So many images as the plan's limit allows, chosen by its seed."""
    if plan.limit is None:
        return everything
    chosen = np.random.default_rng(plan.seed).permutation(len(everything)) < plan.limit
    return datasets.select(everything, chosen)


def _check(data: Dataset, purpose: str, remedy: str) -> None:
    for number, name in enumerate(datasets.CLASSES):
        patients = {patient for patient, label in zip(data.patients, data.labels, strict=True) if label == number}
        if len(patients) < MIN_PATIENTS:
            raise WorkFailed(
                f"there are images labelled {name} of {len(patients)} patients {purpose}; at least {MIN_PATIENTS} "
                f"patients are needed: {remedy}"
            )


def _describe_check(check: novelty.Fitted | None) -> str:
    if check is None:
        return "there are too few X-rays to fit a novelty check to: this version will have none"
    return f"the novelty check flags {check.field.flagged:.1%} of the held-out X-rays as unfamiliar"


def run_for(plan: Plan, training: Dataset) -> Run:
    """The run for a plan; other arguments, other data or another recipe start afresh, in another folder."""
    recipe = architectures.recipe(plan.architecture)
    if plan.start_from is not None:
        recipe = replace(recipe, learning_rate=FINE_TUNING * recipe.learning_rate)
    epochs = plan.epochs or recipe.epochs
    start = "" if plan.start_from is None else f"-from-{plan.start_from.name}"
    name = f"{architectures.file_name(plan.architecture)}-{epochs}-{plan.seed}-{training.fingerprint()[:8]}{start}"
    return Run(_begin(plan), recipe, epochs, plan.seed, plan.work / name, plan.mixed_precision)


def _begin(plan: Plan, fresh: bool = False) -> Callable[[], Any]:
    """Builds the network to start from; `fresh` means that its weights do not matter, and are not fetched."""

    def begin() -> Any:
        if plan.start_from is None:
            return architectures.build(plan.architecture, None if fresh else plan.weights)
        import keras

        export = manifest.read(plan.start_from).export(KERAS.name)
        if export is None:
            raise BrokenModel(f"the version in {plan.start_from} is not a Keras network: it cannot be fine-tuned")
        return keras.saving.load_model(plan.start_from / export.file, compile=False, safe_mode=True)

    return begin


def _describe_data(everything: Dataset, chosen: Dataset, training: Dataset, validation: Dataset) -> dict[str, Any]:
    return {
        "fingerprint": chosen.fingerprint(),
        "train": training.summary(),
        "validation": validation.summary(),
        "unreadable": len(everything.unreadable),
        "duplicates": len(everything.duplicates),
        "split": f"by patient, salt {datasets.SALT!r}, share {datasets.VALIDATION_SHARE}",
    }


def _command(plan: Plan, epochs: int) -> str:
    """The command that makes this version again, without its folders."""
    start = "" if plan.start_from is None else f" --from {plan.start_from.name}"
    subset = "" if plan.limit is None else f" --limit {plan.limit}"
    return f"{plan.command} --data DIR --epochs {epochs} --seed {plan.seed}{start}{subset}"


def _list_libraries() -> dict[str, str]:
    names = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "keras": ("keras",), "numpy": ("numpy",)}
    names |= {"pillow": ("pillow",), "scikit-learn": ("scikit-learn",), "matplotlib": ("matplotlib",)}
    versions = {"python": platform.python_version()}
    for name, distributions in names.items():
        for distribution in distributions:
            try:
                versions[name] = installed(distribution)
            except ModuleNotFoundError:
                continue
    return versions
