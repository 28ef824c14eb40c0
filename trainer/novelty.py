"""Fits and measures the novelty check, which flags images that are out of distribution; it needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from actions.novelty_limits import limit_for
from shared.base.errors import InvalidRequest, WorkFailed
from shared.imaging import Preprocessing
from shared.models import manifest, novelty
from shared.models.manifest import Manifest
from shared.models.novelty import NoveltyCheck
from shared.models.registry import Loaded
from trainer import datasets, ood_samples
from trainer.datasets import Dataset
from trainer.listing import Site
from trainer.robustness import CHANGES

FILE = "novelty.npz"
SOURCE = "Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018"
SHARE = 0.015
"""Share of X-rays like those that set the limit that may lie above it; of the held-out ones, 0.02."""
FOLDS = 5
MIN_IMAGES = 100
"""X-rays to fit to: with fewer, a share of 0.015 is less than two of them."""
METHOD = (
    f"the limit is to leave {SHARE} of X-rays above it, by the scores of the training patients' own, each under a fit "
    f"to other patients, in {FOLDS} folds; flagged: X-rays of patients held out"
)


@dataclass(frozen=True)
class Fitted:
    """The bytes of FILE, and the manifest's field for it."""

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
    """Centre, whitening and limit from at least MIN_IMAGES X-rays, shape (n, height, width, channels).

    The limit is of scores that are cross-fitted by patient.
    """
    from sklearn.model_selection import GroupKFold

    features = novelty.features(pixels)
    scores = np.empty(len(features))
    for others, fold in GroupKFold(FOLDS).split(features, groups=np.asarray(patients)):
        scores[fold] = novelty.distances(features[fold], *_gaussian(features[others]))
    centre, whitening = _gaussian(features)
    return centre, whitening, novelty.limit_of(scores, SHARE)


def flagged(check: NoveltyCheck, pixels: NDArray[np.uint8]) -> float:
    """The share of images, shape (n, height, width, channels), that are called unfamiliar; n is not 0."""
    return float(check.flags(pixels).mean())


def _are_enough(train: Dataset, preprocessing: Preprocessing) -> bool:
    """Whether there are enough X-rays to fit to, and large enough ones to have a layout."""
    is_large = min(preprocessing.height, preprocessing.width) >= novelty.SMALLEST_SIDE
    return is_large and len(train) >= MIN_IMAGES and len(set(train.patients)) >= FOLDS


def _gaussian(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre and whitening of features, shape (n, SIZE), with a shrunk covariance (Ledoit & Wolf, 2004)."""
    from sklearn.covariance import ledoit_wolf

    centre, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 0.01)
    covariance, _ = ledoit_wolf(((features - centre) / spread).astype(np.float64))
    variances, axes = np.linalg.eigh(covariance)
    whitening = axes / np.sqrt(np.maximum(variances, 0.01)) / spread[:, np.newaxis]  # for constant features
    return centre, whitening.astype(np.float32)


@dataclass(frozen=True)
class Measured:
    """The share of one kind of images that is flagged; flagged_there: by the limit of another site."""

    name: str
    images: int
    flagged: float
    flagged_there: float | None = None


@dataclass(frozen=True)
class Report:
    """What a check flags: X-rays of patients held out, families of other images, and X-rays that were changed."""

    is_own: bool  # else a check fitted to the data, for a version that has none
    limit: float
    xrays: list[Measured]
    families: list[Measured]
    changed: list[Measured]
    limit_there: float | None = None
    there: tuple[Measured, ...] = ()  # the other site's X-rays as they are, and inverted, upside down and so on


def measure(
    loaded: Loaded,
    data: Path,
    images: Path | None,
    console: Console,
    site: Site | None = None,
    elsewhere: Path | None = None,
) -> Report:
    """Measure the version's check; one that has none is measured with a check fitted to the data's training patients.

    Each folder in `images` is one more family. `elsewhere` is a labelled folder of another site, whose labels do not
    count: a limit is fitted to its images, and flags those of each patient under a fit to others. Raises WorkFailed
    where nobody is held out or too few X-rays are there to fit a check to, InvalidRequest if `images` is not a folder.
    """
    if images is not None and not images.is_dir():
        raise InvalidRequest(f"{images} is not a folder: name one that holds a folder of images for each family")
    size = loaded.manifest.preprocessing
    everything = datasets.read_to_measure(data, size, console, site)
    held_out = everything.held_out()
    if not held_out.any():
        raise WorkFailed(f"{data} holds no patients who are held out: there is nothing to measure on")
    validation = datasets.select(everything, held_out)
    check = loaded.network.novelty or _fit_check(datasets.select(everything, ~held_out), size)

    foreign = datasets.read_to_measure(elsewhere, size, console, site) if elsewhere else None
    scores_there = None if foreign is None else check.scores(foreign.pixels)
    limit_there = None if scores_there is None else limit_for(scores_there, check.limit)

    def count(name: str, pixels: NDArray[np.uint8]) -> Measured:
        scores = check.scores(pixels)
        by_site = None if limit_there is None else float((scores > limit_there).mean())
        return Measured(name, len(pixels), float((scores > check.limit).mean()), by_site)

    xrays = [count("X-rays of patients held out", validation.pixels)]
    for number, label in enumerate(datasets.CLASSES):
        if (validation.labels == number).any():
            xrays.append(count(f"of them {label}", validation.pixels[validation.labels == number]))
    originals = ood_samples.originals(validation)
    families = [count(name, pixels) for name, pixels in ood_samples.families(originals, size).items()]
    if images is not None:
        families += [count(name, pixels) for name, pixels in ood_samples.families_in(images, size).items()]
    changed = [
        count(f"X-rays, {name}", ood_samples.prepared(map(change, originals), size))
        for name, change in (track(CHANGES.items(), "measuring", console=console) if originals else ())
    ]
    there: list[Measured] = []
    if foreign is not None and scores_there is not None:
        others = ood_samples.distorted(ood_samples.originals(foreign), size)
        there = [
            _count_elsewhere(check.limit, scores_there, foreign.patients),
            *(count(f"of these, {name}", each) for name, each in others.items()),
        ]
    return Report(loaded.network.novelty is not None, check.limit, xrays, families, changed, limit_there, tuple(there))


def _count_elsewhere(limit: float, scores: NDArray[np.float64], patients: Sequence[str]) -> Measured:
    """What the version's limit flags of another site's images, and what a limit flags that is fitted to others."""
    from sklearn.model_selection import GroupKFold

    above = np.empty(len(scores), dtype=np.bool_)
    for others, fold in GroupKFold(FOLDS).split(scores, groups=np.asarray(patients)):
        above[fold] = scores[fold] > limit_for(scores[others], limit)
    own = float((scores > limit).mean())
    return Measured("X-rays of the other site", len(scores), own, float(above.mean()))


def _fit_check(train: Dataset, size: Preprocessing) -> NoveltyCheck:
    if not _are_enough(train, size):
        raise WorkFailed(
            f"there are {len(train)} X-rays of {len(set(train.patients))} patients to fit to; at least {MIN_IMAGES} of "
            f"{FOLDS} patients are needed, of {novelty.SMALLEST_SIDE} pixels or more a side"
        )
    return NoveltyCheck(*fit(train.pixels, train.patients))
