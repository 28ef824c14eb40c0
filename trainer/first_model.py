"""Fit the bundled network to the children's chest X-rays of Kermany et al. and publish it as a model version."""

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from shared.errors import PneumoscreenError
from shared.manifest import Manifest
from trainer import architectures, datasets, examine, fit, publication
from trainer.datasets import Dataset

ARCHITECTURE = "screen"
EXAMPLE = "example: python -m trainer.first_model --data kermany/train --out shared/bundled --work runs/first"

SOURCE = {
    "source": "Kermany, Zhang & Goldbaum: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for "
    "Classification, Mendeley Data, version 2",
    "doi": "10.17632/rscbjbr9sj.2",
    "licence": "CC BY 4.0",
}
POPULATION = {
    "description": "children of one to five years",
    "age_years": {"lowest": 1, "highest": 5},
    "view": "anterior-posterior",
    "sites": ["Guangzhou Women and Children's Medical Center"],
}


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, fit, examine and publish; returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        make(options.data, options.out, options.epochs, options.work, options.seed, options.limit, console)
    except PneumoscreenError as error:
        console.print(f"error: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    return 0


def make(data: Path, out: Path, epochs: int, work: Path, seed: int, limit: int | None, console: Console) -> Path:
    """The whole sequence, from a labelled folder to the folder of a published version, which is returned."""
    everything = datasets.read(data, architectures.preprocessing(ARCHITECTURE), console)
    for left_out in (*everything.unreadable, *everything.duplicates):
        console.print(f"left out: {left_out.path.name}: {left_out.reason}", markup=False, soft_wrap=True)
    if limit is not None:
        everything = datasets.select(everything, np.random.default_rng(seed).permutation(len(everything)) < limit)
    held_out = everything.held_out()
    train, validation = datasets.select(everything, ~held_out), datasets.select(everything, held_out)
    console.print(f"fitting to {train.summary()}, holding out {validation.summary()}", soft_wrap=True)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    model = fit.fit(ARCHITECTURE, train, validation, epochs, work, seed, console)
    found = examine.examine(fit.logits(model, validation.pixels), validation.labels, validation.patients)
    console.print_json(data=found.metrics | {"threshold": found.threshold})

    created_at = datetime.now(UTC).replace(microsecond=0)
    bare = architectures.build(ARCHITECTURE)  # never compiled: no optimizer state reaches the file
    bare.set_weights(model.get_weights())

    def describe(version: str, files: dict[str, str]) -> Manifest:
        return Manifest(
            version=version,
            created_at=created_at,
            engine="keras",
            architecture=ARCHITECTURE,
            parameters=bare.count_params(),
            preprocessing=architectures.preprocessing(ARCHITECTURE),
            threshold=found.threshold,
            calibration=found.calibration,
            metrics={"validation": found.metrics},
            population=POPULATION,
            data=_data(everything, train, validation) | {"command": _command(epochs, seed, limit)},
            libraries=_libraries(),
            files=files,
        )

    folder = publication.publish(out, ARCHITECTURE, created_at, bare.save, describe)
    console.print(f"published {folder}", soft_wrap=True)
    return folder


def _data(everything: Dataset, train: Dataset, validation: Dataset) -> dict[str, Any]:
    return SOURCE | {
        "fingerprint": everything.fingerprint(),
        "train": train.summary(),
        "validation": validation.summary(),
        "unreadable": len(everything.unreadable),
        "duplicates": len(everything.duplicates),
        "split": f"by patient, salt {datasets.SALT!r}, share {datasets.VALIDATION_SHARE}",
    }


def _command(epochs: int, seed: int, limit: int | None) -> str:
    """How to make this version again; folders are left to whoever does."""
    subset = "" if limit is None else f" --limit {limit}"
    return f"python -m trainer.first_model --data DIR --out DIR --work DIR --epochs {epochs} --seed {seed}{subset}"


def _libraries() -> dict[str, str]:
    names = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "keras": ("keras",), "numpy": ("numpy",)}
    names |= {"pillow": ("pillow",), "scikit-learn": ("scikit-learn",)}
    found = {"python": platform.python_version()}
    for name, distributions in names.items():
        for distribution in distributions:
            try:
                found[name] = installed(distribution)
            except ModuleNotFoundError:
                continue
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m trainer.first_model", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--data", type=Path, required=True, help="folder with NORMAL and PNEUMONIA in it")
    parser.add_argument("--out", type=Path, required=True, help="where the version's folder goes")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints: the same command goes on after a kill")
    parser.add_argument("--epochs", type=int, default=42, help="passes over the images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights, order and augmentation (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="use only so many images, chosen by the seed: for a quick try")
    return parser


if __name__ == "__main__":
    sys.exit(main())
