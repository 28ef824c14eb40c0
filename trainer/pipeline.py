"""The whole sequence from labelled images to a model version: read, fit, examine, publish."""

import platform
import shlex
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from shared.base.errors import WorkFailed
from shared.models import manifest, training_images
from shared.models.engines.keras import ENGINE as KERAS
from shared.models.evidence import MEASURED
from shared.models.manifest import Export, Manifest
from trainer import (
    adaptation,
    architectures,
    calibration,
    card,
    cross_validation,
    datasets,
    evidence,
    fit,
    litert_export,
    novelty,
    packaging,
    plots,
    robustness,
    tracking,
)
from trainer.datasets import Dataset
from trainer.description import Description
from trainer.fits import Fits, has_seen
from trainer.plan import Plan, begin, command, parameters, preprocessing

MIN_PATIENTS = 5
"""Of each class, on either side of the split."""
CROSSED = (
    "each patient measured by a network that was fitted to others: those held out by the one that is published, all "
    f"others by the networks of {cross_validation.FOLDS} folds, which are forgotten"
)


@dataclass(frozen=True)
class Trained:
    """A version that was trained and written, with its manifest."""

    folder: Path
    manifest: Manifest


def train(plan: Plan, data: Path, console: Console, description: Description, original: Path | None = None) -> Trained:
    """From a labelled folder to a version; `original` is what `start_from` was fitted to, to measure on."""
    size = preprocessing(plan)
    everything = datasets.read(data, size, console, work=plan.work, site=plan.site, pattern=description.pattern)
    before = None if original is None else datasets.read(original, size, console, work=plan.work, site=plan.site)
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
    is_crossed = cross_validation.is_needed(validation) and not has_seen(plan, training, console)
    remedy = "label more" if plan.limit is None else "label more, or allow more with --limit"
    _check(training, "to fit to", remedy)
    if not is_crossed:
        _check(validation, "held out to examine on", remedy)
    if original is not None:
        original = datasets.select(original, original.held_out())
        _check(original, "held out in the original data", "give more of it")
    _report_patients(chosen, console)
    console.print(f"fitting to {training.summary()}, holding out {validation.summary()}", soft_wrap=True)

    fits = Fits(plan, training, validation, console)
    examined = chosen if is_crossed else validation
    logits = fits.cross(held_out) if is_crossed else fits.direct()
    model, run = fits.model, fits.run
    changed = None
    if not is_crossed:  # else each image would have to be changed for the network of its fold
        predict = partial(fit.logits, model)
        changed = robustness.predict_changed(predict, examined.paths, preprocessing(plan), plan.site.limits, console)
    examination = calibration.examine(logits, examined.labels, examined.patients, changed)
    for name in examination.not_held:
        console.print(f"no threshold can hold this change, so it was left out of the choice: {name}", style="yellow")
    measured = {"validation": examination.metrics | ({"cross_validation": CROSSED} if is_crossed else {})}
    if plan.start_from is not None:
        measured |= adaptation.measure(
            plan.start_from, examination, lambda pixels: fit.logits(model, pixels), examined, original
        )
    monitored = fits.monitored
    check = novelty.fit_for(training, monitored, preprocessing(plan))
    console.print(_describe_check(check), soft_wrap=True)
    network = begin(plan, fresh=True)()  # never compiled: no optimizer state reaches the file
    network.set_weights(model.get_weights())
    converted = litert_export.convert(network, preprocessing(plan), monitored.pixels)
    console.print(
        f"not for LiteRT: {converted}" if isinstance(converted, str) else "LiteRT runs it with TensorFlow's results",
        soft_wrap=True,
    )

    measured[MEASURED] = evidence.measure_fitted(network, monitored, console)
    created_at = datetime.now(UTC).replace(microsecond=0)
    exports = (Export(engine=KERAS.name, file=KERAS.file),)
    data = _describe_data(everything, chosen, training, validation)
    known = training_images.read(plan.start_from, manifest.read(plan.start_from)) if plan.start_from else None

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
            data=description.source | data | {"command": command(plan)},
            libraries=_list_libraries(),
            files=files,
        )

    steps: list[packaging.Accompany] = [] if isinstance(converted, str) else [converted.write]
    if plan.start_from is None or known is not None:  # else it would not tell of all that the network has seen
        steps.append(training_images.write([*training.digests, *(known or ())]))
    steps += [*([check.write] if check else []), plots.accompany(examination.answers), card.write]
    name = architectures.file_name(plan.architecture)
    folder = packaging.publish(plan.out, name, created_at, network.save, describe, steps)
    trained = Trained(folder, manifest.read(folder))
    tracking.record(trained.folder, trained.manifest, parameters(plan, run), run.work / fit.HISTORY, console)
    for work in fits.works:
        fit.forget(work)
    console.print(f"written to {folder}", soft_wrap=True)
    logs = plan.work if is_crossed else run.work / fit.LOGS
    console.print(f"how the fit went: tensorboard --logdir {shlex.quote(str(logs))}", soft_wrap=True, markup=False)
    return trained


def discard(*folders: Path) -> None:
    """Remove what a run no longer needs."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _report_patients(data: Dataset, console: Console) -> None:
    found = data.attribution()
    console.print(found.sentence(), soft_wrap=True, markup=False)
    for doubt in found.doubts:
        console.print(doubt, soft_wrap=True, markup=False, style="yellow")


def _report_left_out(plan: Plan, everything: Dataset, console: Console) -> None:
    for skipped in everything.skipped:
        console.print(skipped.sentence(tells_names=plan.tells_names), markup=False, soft_wrap=True)
    if plan.tells_names:
        for left_out in (*everything.unreadable, *everything.duplicates):
            console.print(f"left out: {left_out.path.name}: {left_out.reason}", markup=False, soft_wrap=True)
    else:
        console.print(everything.left_out_sentence())


def _choose(plan: Plan, everything: Dataset) -> Dataset:
    """So many images as the plan's limit allows, chosen by its seed."""
    if plan.limit is None:
        return everything
    chosen = np.random.default_rng(plan.seed).permutation(len(everything)) < plan.limit
    return datasets.select(everything, chosen)


def _check(data: Dataset, purpose: str, remedy: str) -> None:
    for name, patients in zip(datasets.CLASSES, cross_validation.count_patients(data), strict=True):
        if patients < MIN_PATIENTS:
            raise WorkFailed(
                f"there are images labelled {name} of {patients} patients {purpose}; at least {MIN_PATIENTS} "
                f"patients are needed: {remedy}"
            )


def _describe_check(check: novelty.Fitted | None) -> str:
    if check is None:
        return "there are too few X-rays to fit a novelty check to: this version will have none"
    return f"the novelty check flags {check.field.flagged:.1%} of the held-out X-rays as unfamiliar"


def _describe_data(everything: Dataset, chosen: Dataset, training: Dataset, validation: Dataset) -> dict[str, Any]:
    return {
        "fingerprint": chosen.fingerprint(),
        "train": training.summary(),
        "validation": validation.summary(),
        "unreadable": len(everything.unreadable),
        "duplicates": len(everything.duplicates),
        "passed_over": sum(skipped.count for skipped in everything.skipped),
        **chosen.attribution().as_facts(),
        "split": f"by patient, salt {datasets.SALT!r}, share {datasets.VALIDATION_SHARE}",
    }


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
