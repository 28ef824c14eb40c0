"""What a few words of a site give: provisional operating points, beside the version's own threshold and fine-tuning.

Cross-validated over patients: nobody is measured by what was fitted to images of theirs.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from shared.base.errors import WorkFailed, WrongSettings
from shared.models.manifest import is_positive
from shared.models.registry import Loaded
from shared.statistics import metrics, operating_point
from shared.statistics.intervals import LEVEL, draw_patients
from shared.statistics.metrics import ROUNDS, Figure
from shared.statistics.operating_point import Readings
from trainer import calibration, datasets, evaluation, fit, labels_file
from trainer.datasets import Dataset
from trainer.listing import Site
from trainer.plan import Plan, run_for

FOLDS = 5
KNOWN = 0.25
"""Of the patients of a fold's training side: fine-tuning chooses its epoch, calibration and threshold on them."""
EVERYTHING = "all"
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
Mask = NDArray[np.bool_]
Decided = tuple[Mask, Mask]
"""Which images were decided about, and which were called PNEUMONIA; each of shape (n,)."""


@dataclass
class _Tally:
    """By group: right and all images of a class, over all rounds."""

    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    recalls: list[float] = field(default_factory=list)

    def add(self, data: Dataset, groups: dict[str, Mask], decided: Decided) -> None:
        rows, called = decided
        ill = data.labels == 1
        for name, mask in groups.items():
            of_class = [rows & mask & ill, rows & mask & ~ill]
            right = [(of_class[0] & called).sum(), (of_class[1] & ~called).sum()]
            found = np.array([[right[0], of_class[0].sum()], [right[1], of_class[1].sum()]], dtype=np.int64)
            self.counts[name] = self.counts.get(name, 0) + found
        if (rows & ill).any():
            self.recalls.append(float((rows & ill & called).sum() / (rows & ill).sum()))


@dataclass(frozen=True)
class SiteRow:
    """Recall and specificity by group, of all rounds together; None where a group has no image of the class.

    lowest: the recall that nine rounds in ten reach; None for a single round.
    """

    name: str
    rates: dict[str, tuple[float | None, float | None]]
    lowest: float | None


@dataclass(frozen=True)
class Scored:
    """A site's labelled images, a version's logits of them, shape (n,), and a mask of each group's, "all" first."""

    folder: Path
    data: Dataset
    logits: NDArray[np.float64]
    groups: dict[str, Mask]


def score(loaded: Loaded, folder: Path, column: str | None, console: Console, site: Site) -> Scored:
    """Read and score a labelled folder; `column` of its labels.csv tells groups apart, WrongSettings if it has none."""
    data = datasets.read_to_measure(folder, loaded.manifest.preprocessing, console, site)
    logits = evaluation.predict(loaded.network.logits, evaluation.batches(data.pixels))
    groups = {EVERYTHING: np.ones(len(data), dtype=np.bool_), **_groups(folder, data, column)}
    return Scored(folder, data, logits, groups)


def measure(
    loaded: Loaded,
    scored: Scored,
    words: Sequence[int],
    goal: float,
    console: Console,
    rounds: int = 200,
    tuning: Plan | None = None,
) -> list[SiteRow]:
    """A row for the version's own threshold, one for each number of words, and one for fine-tuning if it is planned.

    Of each number of words, so many images of patients drawn at random are fitted to, and the other patients measured,
    `rounds` times. Raises WorkFailed if there are too few images for a number of words.
    """
    data, logits, groups = scored.data, scored.logits, scored.groups
    own = evaluation.answer(loaded, logits, data.labels, data.patients).decisions
    rows = [_row(f"{loaded.manifest.version}, its own threshold", data, groups, [(groups[EVERYTHING], own)])]
    for number in words:
        if number >= len(data):
            raise WorkFailed(
                f"{scored.folder} has {len(data)} images: none would be left to measure on beside {number} words."
            )
        splits = track(list(_splits(data, number, rounds)), f"{number} words", console=console)
        decided = [_by_point(loaded, data, logits, goal, chosen) for chosen in splits]
        rows.append(_row(f"{number} words", data, groups, decided))
    if tuning is not None:
        rows.append(_row(f"fine-tuned, {FOLDS} folds", data, groups, _tuned(tuning, data, console)))
    return rows


def measure_auc(scored: Scored) -> dict[str, Figure | None]:
    """The AUC by group, which no threshold moves, with intervals over patients; None where a group has one class."""
    data, logits = scored.data, scored.logits
    areas: dict[str, Figure | None] = {}
    for name, rows in scored.groups.items():
        part = datasets.select(data, rows)
        found = metrics.auc(logits[rows], part.labels == 1)
        if found is None:
            areas[name] = None
            continue
        drawn = [metrics.aucs(logits[rows], part.labels == 1, each) for each in draw_patients(part.patients, ROUNDS, 0)]
        low, high = np.nanquantile(np.concatenate([each for each in drawn if each is not None]), TAILS)
        areas[name] = Figure(value=found, low=float(low), high=float(high))
    return areas


def _groups(folder: Path, data: Dataset, column: str | None) -> dict[str, Mask]:
    if column is None:
        return {}
    file = folder / labels_file.NAME
    if not file.exists():
        raise WrongSettings(f"{folder} has no {labels_file.NAME}, whose column {column} would tell groups apart.")
    with file.open(encoding="utf-8-sig", newline="") as text:
        values = {folder / row["path"]: row.get(column) or "" for row in csv.DictReader(text)}
    found = np.array([values.get(path, "") for path in data.paths])
    if not any(found):
        raise WrongSettings(f"{file} has no column {column}.")
    return {str(name): found == name for name in sorted(set(found) - {""})}


def _splits(data: Dataset, words: int, rounds: int) -> Iterator[Mask]:
    """Masks of the images that are fitted to: of whole patients, about so many, with both classes on either side."""
    names, patient_of = np.unique(np.asarray(data.patients), return_inverse=True)
    for seed in range(rounds):
        generator, is_mixed = np.random.default_rng([words, seed]), False
        while not is_mixed:
            rank = generator.permutation(len(names))[patient_of]
            chosen = rank <= np.sort(rank)[words - 1]
            is_mixed = all(0 < data.labels[side].sum() < side.sum() for side in (chosen, ~chosen))
        yield chosen


def _by_point(loaded: Loaded, data: Dataset, logits: NDArray[np.float64], goal: float, rows: Mask) -> Decided:
    whose = tuple(patient for patient, is_chosen in zip(data.patients, rows, strict=True) if is_chosen)
    readings = Readings(logits[rows], data.labels[rows], np.ones(int(rows.sum())), whose)
    choice = operating_point.choose(readings, goal, loaded.manifest.calibration.line)
    return ~rows, is_positive(choice.line.probabilities(logits), choice.threshold)


def _tuned(plan: Plan, data: Dataset, console: Console) -> Iterator[Decided]:
    """Fine-tuned on four fifths of the patients, measured on the rest, in turn."""
    for fold, rows in enumerate(_folds(data, FOLDS, seed=0)):
        train, known = _halves(datasets.select(data, ~rows))
        run = run_for(replace(plan, work=plan.work / f"fold-{fold}"), train)
        model = fit.fit(run, train, known, console)
        line, threshold = calibration.fit_operating_point(fit.logits(model, known.pixels), known.labels)
        probabilities = evaluation.calibrate(line, fit.logits(model, data.pixels))
        fit.forget(run.work)
        yield rows, is_positive(probabilities, threshold)


def _folds(data: Dataset, count: int, seed: int) -> Iterator[Mask]:
    """Masks of patients, each patient in one of them, with the classes in about equal shares."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for _, held in folds.split(data.labels, data.labels, groups=np.asarray(data.patients)):
        rows = np.zeros(len(data), dtype=np.bool_)
        rows[held] = True
        yield rows


def _halves(data: Dataset) -> tuple[Dataset, Dataset]:
    rows = next(_folds(data, round(1 / KNOWN), seed=1))
    return datasets.select(data, ~rows), datasets.select(data, rows)


def _row(name: str, data: Dataset, groups: dict[str, Mask], rounds: Iterable[Decided]) -> SiteRow:
    tally = _Tally()
    for decided in rounds:
        tally.add(data, groups, decided)
    rates = {group: tuple(_rate(*each) for each in counts.tolist()) for group, counts in tally.counts.items()}
    lowest = float(np.quantile(tally.recalls, 0.1)) if len(tally.recalls) > FOLDS else None
    return SiteRow(name, {group: (found[0], found[1]) for group, found in rates.items()}, lowest)


def _rate(right: int, all_of_them: int) -> float | None:
    return right / all_of_them if all_of_them else None
