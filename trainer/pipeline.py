"""The whole sequence from labelled images to a model version: read, fit, examine, publish."""

import platform
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from shared.base.errors import BrokenModel, WorkFailed, WrongSettings
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
from trainer.fit import Run

ABOUT = "dataset.toml"
"""A file in the labelled folder that says, in the tables `source` and `population`, what a manifest is to say."""
MIN_PATIENTS = 5
"""Of each class, on either side of the split."""
FINE_TUNING = 0.1
"""Of the recipe's learning rate: a network that has learnt something is to keep it."""
NOT_STATED = {"description": f"not stated: {ABOUT} in the labelled folder can say it"}


@dataclass(frozen=True)
class Order:
    """What is to be made. Of two orders that are equal, the second goes on where the first was killed.

    work: where checkpoints, TensorBoard logs and pixels lie; out: where the version's folder goes.
    epochs: None for the recipe's own. weights: of a backbone, see `architectures.build`.
    tells_names: whether what is left out is named; not where the output goes to a log.
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
class About:
    """What a manifest says about the data that files cannot tell."""

    source: dict[str, Any] = field(default_factory=dict)
    population: dict[str, Any] = field(default_factory=lambda: dict(NOT_STATED))


@dataclass(frozen=True)
class Made:
    """A version that was made, with its manifest."""

    folder: Path
    manifest: Manifest


def about(data: Path) -> About:
    """What `dataset.toml` in a labelled folder says; raises WrongSettings where it cannot be read."""
    return read_about(data / ABOUT) if (data / ABOUT).exists() else About()


def read_about(file: Path) -> About:
    """What a `dataset.toml` says; raises WrongSettings where it cannot be read."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WrongSettings(f"{file} cannot be read: {error}") from error
    return About(tables.get("source", {}), tables.get("population", dict(NOT_STATED)))


def preprocessing(order: Order) -> Preprocessing:
    """How the pixels for an order are made."""
    if order.start_from is None:
        return architectures.preprocessing(order.architecture)
    return manifest.read(order.start_from).preprocessing


def make(order: Order, data: Path, console: Console, said: About | None = None, original: Path | None = None) -> Made:
    """From a labelled folder to a published version; `original` is what `start_from` was fitted to, to measure on."""
    pixels = preprocessing(order)
    everything = datasets.read(data, pixels, console, work=order.work)
    before = None if original is None else datasets.read(original, pixels, console, work=order.work)
    return make_from(order, everything, said or about(data), console, before)


def make_from(
    order: Order, everything: Dataset, said: About, console: Console, original: Dataset | None = None
) -> Made:
    """From images that have been read, as `preprocessing` says, to a published version.

    Raises WorkFailed where too few patients are there to fit to or to examine on.
    """
    if order.tells_names:
        for left_out in (*everything.unreadable, *everything.duplicates):
            console.print(f"left out: {left_out.path.name}: {left_out.reason}", markup=False, soft_wrap=True)
    else:
        unreadable, duplicates = len(everything.unreadable), len(everything.duplicates)
        console.print(f"left out: {unreadable} that cannot be read, {duplicates} whose content is there already")
    whole = everything
    if order.limit is not None:
        chosen = np.random.default_rng(order.seed).permutation(len(everything)) < order.limit
        everything = datasets.select(everything, chosen)
    held_out = everything.held_out()
    train, validation = datasets.select(everything, ~held_out), datasets.select(everything, held_out)
    more = "label more" if order.limit is None else "label more, or allow more with --limit"
    _check(train, "to fit to", more)
    _check(validation, "held out to examine on", more)
    if original is not None:
        original = datasets.select(original, original.held_out())
        _check(original, "held out in the original data", "give more of it")
    console.print(f"fitting to {train.summary()}, holding out {validation.summary()}", soft_wrap=True)

    run = run_for(order, train)
    model = fit.fit(run, train, validation, console)
    found = calibration.examine(fit.logits(model, validation.pixels), validation.labels, validation.patients)
    measured = {"validation": found.metrics}
    if order.start_from is not None:
        measured |= adaptation.measure(
            order.start_from, found, lambda pixels: fit.logits(model, pixels), validation, original
        )
    check = novelty.fit_for(train, validation, preprocessing(order))
    console.print(_told(check), soft_wrap=True)

    created_at = datetime.now(UTC).replace(microsecond=0)
    bare = _begin(order, fresh=True)()  # never compiled: no optimizer state reaches the file
    bare.set_weights(model.get_weights())

    faster = litert_export.convert(bare, preprocessing(order), validation.pixels)
    console.print(
        f"not for LiteRT: {faster}" if isinstance(faster, str) else "LiteRT can run it, with TensorFlow's answers",
        soft_wrap=True,
    )

    converted = () if isinstance(faster, str) else (faster.export,)

    def describe(version: str, files: dict[str, str]) -> Manifest:
        return Manifest(
            version=version,
            created_at=created_at,
            exports=(Export(engine=KERAS.name, file=KERAS.file), *converted),
            architecture=order.architecture,
            parameters=bare.count_params(),
            preprocessing=preprocessing(order),
            threshold=found.threshold,
            calibration=found.calibration,
            novelty=check.field if check else None,
            metrics=measured,
            population=said.population,
            data=said.source | _data(everything, train, validation, whole) | {"command": _command(order, run.epochs)},
            libraries=_libraries(),
            files=files,
        )

    name = architectures.file_name(order.architecture)
    accompany: list[packaging.Accompany] = [] if isinstance(faster, str) else [faster.write]
    accompany += [*([check.write] if check else []), plots.accompany(found.answers), card.write]
    folder = packaging.publish(order.out, name, created_at, bare.save, describe, accompany)
    fit.forget(run.work)
    console.print(f"written to {folder}", soft_wrap=True)
    return Made(folder, manifest.read(folder))


def discard(*folders: Path) -> None:
    """Remove what a run needed no longer."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _check(data: Dataset, purpose: str, remedy: str) -> None:
    for number, name in enumerate(datasets.CLASSES):
        patients = {patient for patient, label in zip(data.patients, data.labels, strict=True) if label == number}
        if len(patients) < MIN_PATIENTS:
            raise WorkFailed(
                f"there are images labelled {name} of {len(patients)} patients {purpose}; at least {MIN_PATIENTS} "
                f"patients are needed: {remedy}"
            )


def _told(check: novelty.Fitted | None) -> str:
    if check is None:
        return "there are too few X-rays to fit a novelty check to: this version will have none"
    return f"the novelty check flags {check.field.flagged:.1%} of the held-out X-rays as unfamiliar"


def run_for(order: Order, train: Dataset) -> Run:
    """The run for an order; other arguments, other data or another recipe start afresh, in another folder."""
    chosen = architectures.recipe(order.architecture)
    if order.start_from is not None:
        chosen = replace(chosen, learning_rate=FINE_TUNING * chosen.learning_rate)
    epochs = order.epochs or chosen.epochs
    start = "" if order.start_from is None else f"-from-{order.start_from.name}"
    name = f"{architectures.file_name(order.architecture)}-{epochs}-{order.seed}-{train.fingerprint()[:8]}{start}"
    return Run(_begin(order), chosen, epochs, order.seed, order.work / name, order.mixed_precision)


def _begin(order: Order, fresh: bool = False) -> Callable[[], Any]:
    """Makes the network to start from; `fresh` means that its weights do not matter, and are not fetched."""

    def begin() -> Any:
        if order.start_from is None:
            return architectures.build(order.architecture, None if fresh else order.weights)
        import keras

        export = manifest.read(order.start_from).export(KERAS.name)
        if export is None:
            raise BrokenModel(f"the version in {order.start_from} is not a Keras network: it cannot be fine-tuned")
        return keras.saving.load_model(order.start_from / export.file, compile=False, safe_mode=True)

    return begin


def _data(everything: Dataset, train: Dataset, validation: Dataset, whole: Dataset) -> dict[str, Any]:
    return {
        "fingerprint": everything.fingerprint(),
        "train": train.summary(),
        "validation": validation.summary(),
        "unreadable": len(whole.unreadable),
        "duplicates": len(whole.duplicates),
        "split": f"by patient, salt {datasets.SALT!r}, share {datasets.VALIDATION_SHARE}",
    }


def _command(order: Order, epochs: int) -> str:
    """How to make this version again; folders are left to whoever does."""
    start = "" if order.start_from is None else f" --from {order.start_from.name}"
    subset = "" if order.limit is None else f" --limit {order.limit}"
    return f"{order.command} --data DIR --epochs {epochs} --seed {order.seed}{start}{subset}"


def _libraries() -> dict[str, str]:
    names = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "keras": ("keras",), "numpy": ("numpy",)}
    names |= {"pillow": ("pillow",), "scikit-learn": ("scikit-learn",), "matplotlib": ("matplotlib",)}
    found = {"python": platform.python_version()}
    for name, distributions in names.items():
        for distribution in distributions:
            try:
                found[name] = installed(distribution)
            except ModuleNotFoundError:
                continue
    return found
