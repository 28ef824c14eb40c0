"""Fits and measures the check for pictures that are not what a version knows; it looks at pixels, at no network.

    python -m trainer.novelty --data kermany/train --version shared/bundled/screen-20261121-2ad23c4c
    python -m trainer.novelty --data kermany/train --version models/v2 --pictures strangers

prints which share of X-rays is flagged, as they are and changed, and which share of each family of other pictures.
A version that has no check is measured with one that is fitted to the data's training patients, and is not written to.
In `strangers`, each folder of pictures is one more family.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from shared.base.errors import PneumoscreenError, WorkFailed, WrongSettings
from shared.imaging import Preprocessing
from shared.models import manifest, novelty
from shared.models.manifest import Manifest
from shared.models.novelty import NoveltyCheck
from trainer import datasets, ood_samples
from trainer.datasets import Dataset
from trainer.robustness import CHANGES

FILE = "novelty.npz"
SOURCE = "Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018"
SHARE = 0.015
"""Of X-rays like those that set the limit, at most so many are to be above it; of the held-out ones, 0.02."""
FOLDS = 5
MIN_IMAGES = 100
"""X-rays to fit to: with fewer, a share of 0.015 is less than two of them."""
METHOD = (
    f"the limit is to leave {SHARE} of X-rays above it, by the scores of the training patients' own, each under a fit "
    f"to other patients, in {FOLDS} folds; flagged: X-rays of patients held out"
)


@dataclass(frozen=True)
class Fitted:
    """The bytes of FILE, and the manifest's field that speaks of it."""

    parameters: bytes
    field: manifest.Novelty

    def write(self, folder: Path, _manifest: Manifest) -> None:
        """Write FILE into a version's folder: a step of a publication."""
        (folder / FILE).write_bytes(self.parameters)


def fit_for(train: Dataset, validation: Dataset, preprocessing: Preprocessing) -> Fitted | None:
    """Fit the check to the training patients and measure it on those held out; None where there are too few.

    What it flags of images that are out of distribution is measured by `measure`, not in each training.
    """
    if not _are_enough(train, preprocessing):
        return None
    centre, whitening, limit = fit(train.pixels, train.patients)
    check = NoveltyCheck(centre, whitening, limit)
    stored = BytesIO()
    np.savez(stored, centre=centre, whitening=whitening)
    field = manifest.Novelty(
        source=SOURCE,
        file=FILE,
        limit=limit,
        flagged=flagged(check, validation.pixels),
        measured={
            "method": METHOD,
            "training_images": len(train),
            "held_out_images": len(validation),
        },
    )
    return Fitted(stored.getvalue(), field)


def fit(pixels: NDArray[np.uint8], patients: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Centre, whitening and limit from X-rays of shape (n, height, width, channels), at least MIN_IMAGES of them.

    The limit is that of a split conformal predictor (Vovk et al., 2005), of scores that are cross-fitted by patient.
    """
    from sklearn.model_selection import GroupKFold

    found = novelty.features(pixels)
    scores = np.empty(len(found))
    for others, fold in GroupKFold(FOLDS).split(found, groups=np.asarray(patients)):
        scores[fold] = novelty.distances(found[fold], *_gaussian(found[others]))
    centre, whitening = _gaussian(found)
    return centre, whitening, float(np.sort(scores)[len(scores) - int(SHARE * (len(scores) + 1))])


def flagged(check: NoveltyCheck, pixels: NDArray[np.uint8]) -> float:
    """The share of pictures of shape (n, height, width, channels) that are called unfamiliar; n is not 0."""
    return float(np.mean([check.is_unfamiliar(score) for score in check.scores(pixels).tolist()]))


def caught(check: NoveltyCheck, validation: Dataset, preprocessing: Preprocessing) -> dict[str, tuple[int, float]]:
    """Of each family of images that are out of distribution: how many there are, and the share that is flagged.

    The files behind `validation` are read again, to be changed.
    """
    families = ood_samples.families(ood_samples.originals(validation), preprocessing)
    return {name: (len(pixels), flagged(check, pixels)) for name, pixels in families.items()}


def _are_enough(train: Dataset, preprocessing: Preprocessing) -> bool:
    """Whether there is something to fit to, and pictures large enough to have a layout."""
    is_large = min(preprocessing.height, preprocessing.width) >= novelty.SMALLEST_SIDE
    return is_large and len(train) >= MIN_IMAGES and len(set(train.patients)) >= FOLDS


def _gaussian(found: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre and whitening of features, shape (n, SIZE), with a shrunk covariance (Ledoit & Wolf, 2004)."""
    from sklearn.covariance import ledoit_wolf

    centre, spread = found.mean(axis=0), np.maximum(found.std(axis=0), 0.01)
    covariance, _ = ledoit_wolf(((found - centre) / spread).astype(np.float64))
    variances, axes = np.linalg.eigh(covariance)
    whitening = axes / np.sqrt(np.maximum(variances, 0.01)) / spread[:, np.newaxis]  # a constant feature rules nothing
    return centre, whitening.astype(np.float32)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, measure, print the table."""
    parser = argparse.ArgumentParser(
        "python -m trainer.novelty", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled folders")
    parser.add_argument("--version", type=Path, required=True, help="the folder of a version")
    parser.add_argument("--pictures", type=Path, help="a folder of folders of other pictures: more families")
    options = parser.parse_args(arguments)
    console, errors = Console(width=100), Console(stderr=True, soft_wrap=True)
    try:
        console.print(measure(options.data, options.version, options.pictures, errors))
    except PneumoscreenError as error:
        errors.print(f"error: {error}", markup=False)
        return error.exit_code
    return 0


def measure(data: Path, version: Path, pictures: Path | None, errors: Console) -> Table:
    """The shares that are flagged, of X-rays of patients held out and of every family."""
    if pictures is not None and not pictures.is_dir():
        raise WrongSettings(f"{pictures} is no folder: --pictures names one with folders of pictures in it")
    found = manifest.read(version)
    everything = datasets.read(data, found.preprocessing, errors)
    held_out = everything.held_out()
    if not held_out.any():
        raise WorkFailed(f"{data} holds no patients who are held out: there is nothing to measure on")
    validation = datasets.select(everything, held_out)
    check = _check(found, version, datasets.select(everything, ~held_out))
    has_one = "its own check" if found.novelty else "a check fitted to this data"
    table = Table("what", "pictures", "flagged", title=f"{found.version}\n{has_one}, limit {check.limit:.3f}")

    def add(name: str, pixels: NDArray[np.uint8]) -> None:
        table.add_row(name, str(len(pixels)), f"{flagged(check, pixels):.3f}")

    add("X-rays of patients held out", validation.pixels)
    for number, label in enumerate(datasets.CLASSES):
        if (validation.labels == number).any():
            add(f"of them {label}", validation.pixels[validation.labels == number])
    table.add_section()
    xrays = ood_samples.originals(validation)
    for name, pixels in ood_samples.families(xrays, found.preprocessing).items():
        add(name, pixels)
    for name, pixels in (ood_samples.families_in(pictures, found.preprocessing) if pictures else {}).items():
        add(name, pixels)
    table.add_section()
    for name, change in track(CHANGES.items(), "measuring", console=errors):
        if xrays:
            add(f"X-rays, {name}", ood_samples.prepared(map(change, xrays), found.preprocessing))
    return table


def _check(found: Manifest, version: Path, train: Dataset) -> NoveltyCheck:
    if found.novelty is not None:
        return novelty.load(version / found.novelty.file, found.novelty.limit)
    if not _are_enough(train, found.preprocessing):
        raise WorkFailed(
            f"there are {len(train)} X-rays of {len(set(train.patients))} patients to fit to, and {MIN_IMAGES} of {FOLDS} "
            f"are the fewest that say anything, of {novelty.SMALLEST_SIDE} pixels or more a side"
        )
    return NoveltyCheck(*fit(train.pixels, train.patients))


if __name__ == "__main__":
    sys.exit(main())
