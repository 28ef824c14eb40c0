"""The gate: whether a challenger may replace the champion, on the same patients, whom neither was fitted to."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr
from rich.console import Console

from shared.base.errors import BrokenModel, WrongSettings
from shared.imaging import Preprocessing
from shared.models import registry
from shared.models.manifest import is_positive
from shared.models.registry import Loaded, Published
from trainer import datasets
from trainer.datasets import Dataset

MIN_DIFFERENCE = -0.01
"""So far below the other's recall the lower bound of the difference may lie."""
MIN_RECALL = 0.97
MIN_PATIENTS = 30
"""With fewer patients of a class there is no telling: two versions that agree on five patients prove nothing."""
ROUNDS = 4000
CHUNK = 500
BATCH = 32
SEED = 1


@dataclass(frozen=True)
class Side:
    """What one version says of the held-out images: calibrated probabilities, shape (n,), and its own threshold."""

    version: str
    probabilities: NDArray[np.float64]
    threshold: float

    @property
    def decided(self) -> NDArray[np.bool_]:
        return is_positive(self.probabilities, self.threshold)


@dataclass(frozen=True)
class Figures:
    """One version on the held-out images; recall and specificity at its own threshold."""

    version: str
    threshold: float
    recall: float
    specificity: float
    auc: float


@dataclass(frozen=True)
class Comparison:
    """The challenger beside a version that was live; `low` and `high` bound the difference in recall (95 %)."""

    other: Figures
    role: str  # champion or earlier
    difference: float
    low: float
    high: float
    is_recall_kept: bool
    is_auc_kept: bool


@dataclass(frozen=True)
class Verdict:
    """What the gate compared, and what decided."""

    passed: bool
    challenger: Figures
    comparisons: tuple[Comparison, ...]
    failed: tuple[str, ...]  # a sentence for each thing that speaks against the challenger
    images: int
    patients: int
    notes: tuple[str, ...] = ()

    def as_json(self) -> str:
        """What `model_versions.verdict` holds."""
        return json.dumps(asdict(self), allow_nan=False)


def judge(
    champion: Side | None,
    challenger: Side,
    labels: NDArray[np.uint8],
    patients: Sequence[str],
    seed: int = SEED,
    *,
    earlier: Sequence[Side] = (),
    notes: Sequence[str] = (),
) -> Verdict:
    """Whether the challenger may replace the champion; labels 0 NORMAL or 1 PNEUMONIA, shape (n,), and whose they are.

    Its recall must be at least MIN_RECALL at its threshold; beside the champion and every version that was live
    earlier, the lower bound of the paired difference in recall must be at least MIN_DIFFERENCE and its AUC no lower.
    The bound is that of a percentile bootstrap (Efron & Tibshirani, 1993) over patients, since a patient's images are
    alike. The order of the images does not matter. Without a champion, the recall alone decides.
    """
    is_ill = labels == 1
    whose = np.asarray(patients, dtype=str)
    mine = _figures(challenger, is_ill)
    failed = [
        f"There are only {count} held-out patients with {name} images; {MIN_PATIENTS} are needed to tell."
        for name, rows in (("PNEUMONIA", is_ill), ("NORMAL", ~is_ill))
        if (count := len(set(whose[rows]))) < MIN_PATIENTS
    ]
    if not mine.recall >= MIN_RECALL:
        failed.append(f"Its recall at its threshold is {mine.recall:.4f}; at least {MIN_RECALL} is needed.")
    comparisons = []
    others = [(side, "earlier") for side in earlier]
    for other, role in ([(champion, "champion")] if champion else []) + others:
        found = _compare(mine, challenger, other, role, is_ill, whose, seed)
        comparisons.append(found)
        if not found.is_recall_kept:
            failed.append(
                f"Beside {other.version} ({role}) the lower bound of the difference in recall is {found.low:+.4f}; "
                f"at least {MIN_DIFFERENCE} is needed."
            )
        if not found.is_auc_kept:
            failed.append(
                f"Its AUC of {mine.auc:.4f} is below that of {other.version} ({role}), {found.other.auc:.4f}."
            )
    return Verdict(
        not failed, mine, tuple(comparisons), tuple(failed), len(labels), len(set(whose.tolist())), tuple(notes)
    )


def _compare(
    mine: Figures,
    challenger: Side,
    other: Side,
    role: str,
    is_ill: NDArray[np.bool_],
    whose: NDArray[np.str_],
    seed: int,
) -> Comparison:
    theirs = _figures(other, is_ill)
    gained = challenger.decided[is_ill].astype(np.int64) - other.decided[is_ill]
    low, high = _bounds(gained, whose[is_ill], seed)
    return Comparison(
        theirs,
        role,
        float(gained.sum()) / max(1, len(gained)),
        low,
        high,
        is_recall_kept=low >= MIN_DIFFERENCE,
        is_auc_kept=mine.auc >= theirs.auc,
    )


def _bounds(gained: NDArray[np.int64], whose: NDArray[np.str_], seed: int) -> tuple[float, float]:
    """The 95 % interval of the mean of `gained`, -1, 0 or 1 for each image with pneumonia, resampling patients."""
    _, patient = np.unique(whose, return_inverse=True)
    sizes = np.bincount(patient)
    count = len(sizes)
    if not count:
        return -1.0, 1.0
    sums = np.bincount(patient, weights=gained)
    random, means = np.random.default_rng(seed), []
    for _ in range(0, ROUNDS, CHUNK):
        drawn = random.multinomial(count, np.full(count, 1 / count), size=CHUNK)
        means.append((drawn @ sums) / (drawn @ sizes))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def _figures(side: Side, is_ill: NDArray[np.bool_]) -> Figures:
    decided = side.decided
    ill, well = int(is_ill.sum()), int((~is_ill).sum())
    return Figures(
        side.version,
        float(side.threshold),
        int(decided[is_ill].sum()) / max(1, ill),
        int((~decided)[~is_ill].sum()) / max(1, well),
        _auc(side.probabilities, is_ill),
    )


def _auc(probabilities: NDArray[np.float64], is_ill: NDArray[np.bool_]) -> float:
    """How often an ill image gets more than a well one, ties counting half; exact, so that equals compare as equal."""
    ill, well = probabilities[is_ill], np.sort(probabilities[~is_ill])
    if not len(ill) or not len(well):
        return 0.0
    twice = np.searchsorted(well, ill, "left") + np.searchsorted(well, ill, "right")
    return int(twice.sum()) / (2 * len(ill) * len(well))


def examine(
    models: Path,
    challenger: Published,
    live: Sequence[Published],
    folder: Path,
    console: Console,
    key: SecretStr | None = None,
) -> Verdict:
    """Judge a published version on the held-out patients of a labelled folder, by TensorFlow.

    `live` is what `registry.live` gives: the champion, then those that were live before it. One of them that does not
    load could not serve either: it is noted and left out, and the champion is the first that loads. Raises BrokenModel
    if the challenger does not load, WrongSettings if nobody in the folder is held out.
    """
    held_out = _reader(folder, console)
    loaded = registry.load(models, challenger, key)
    data = held_out(loaded.manifest.preprocessing)
    mine = _side(loaded, data)
    sides, notes = [], []
    for version in (version for version in live if version != challenger):
        try:
            loaded = registry.load(models, version, key)
            seen = held_out(loaded.manifest.preprocessing)
            if seen.digests != data.digests:
                raise WrongSettings(f"Images in {folder} changed while they were read: try again.")
            sides.append(_side(loaded, seen))
        except BrokenModel as error:
            notes.append(f"{version.version} could not be compared: {error}")
    champion, earlier = (sides[0], sides[1:]) if sides else (None, [])
    return judge(champion, mine, data.labels, data.patients, earlier=earlier, notes=notes)


def _reader(folder: Path, console: Console) -> Callable[[Preprocessing], Dataset]:
    """Reads the held-out images of a folder, once for each way of preparing pixels."""
    read: dict[str, Dataset] = {}

    def held_out(preprocessing: Preprocessing) -> Dataset:
        key = preprocessing.model_dump_json()
        if key not in read:
            read.clear()  # the pixels of one preparation at a time fit into memory
            data = datasets.read(folder, preprocessing, console)
            read[key] = datasets.select(data, data.held_out())
            if not len(read[key]):
                raise WrongSettings(
                    f"No image in {folder} is of a patient who is held out: there is nothing to judge by."
                )
        return read[key]

    return held_out


def _side(loaded: Loaded, data: Dataset) -> Side:
    found = loaded.manifest
    logits = np.concatenate([loaded.network.logits(batch) for batch in _batches(data)])
    if not np.isfinite(logits).all():
        raise BrokenModel(f"{found.version} answers {(~np.isfinite(logits)).sum()} images with what is not a number.")
    probabilities = np.array([found.calibration.probability(float(logit)) for logit in logits], dtype=np.float64)
    return Side(found.version, probabilities, found.threshold)


def _batches(data: Dataset) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(data), BATCH):
        yield data.pixels[start : start + BATCH]
