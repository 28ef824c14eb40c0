"""How an architecture does on groups of images that it was never fitted to, each left out in its turn.

Figures on patients held out from the same data say little about the next hospital. Groups that differ as hospitals
differ say more: by naming series, and the fifth of each class with the least or the most of a measure.
Each group costs a training; a call after a kill goes on. The worst group counts.
"""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from rich.console import Console
from rich.progress import track

from shared.base.errors import WorkFailed
from shared.imaging import Limits, decode
from shared.statistics import metrics
from trainer import architectures, calibration, datasets, evaluation, fit
from trainer.datasets import Dataset
from trainer.plan import Plan, run_for

SHARE = 0.2
MIN_IMAGES = 30  # of a class, for a figure on it to mean anything
FULL = (1024, 1024)
RIM = 16  # pixels of a side of 224
BLACK = 16  # of 255

Rows = NDArray[np.bool_]
Floats = NDArray[np.float64]
Predict = Callable[[Dataset, Dataset, Dataset], tuple[Floats, Floats]]
"""Fits to the first; returns the logits of the second, held out, and of the third, the group."""


@dataclass(frozen=True)
class GroupFigures:
    """The figures of one group; None where it has too few images of a class."""

    group: str
    images: int
    auc: float | None
    recall: float | None
    specificity: float | None


def measure(plan: Plan, data: Path, sizes: Path | None, only: str | None, console: Console) -> list[GroupFigures]:
    """Fit the plan's architecture once for each group that is left out, and measure it on that group.

    sizes: a CSV with columns file, width and height of the originals, where the images were resized. only: a regular
    expression that the names of groups must match. Called again after a kill, it goes on. Raises WorkFailed if no
    group matches.
    """
    images = datasets.read(
        data, architectures.preprocessing(plan.architecture), console, work=plan.work, site=plan.site
    )
    chosen = {
        name: rows
        for name, rows in groups(images, measure_images(images, sizes, console)).items()
        if only is None or re.search(only, name)
    }
    if not chosen:
        raise WorkFailed(f"no group of at least {MIN_IMAGES} images matches {only!r}: leave --only out")
    return leave_out(images, chosen, _fitter(plan, console), _record(plan, images))


def groups(data: Dataset, measured: dict[str, Floats]) -> dict[str, Rows]:
    """Masks of shape (n,) by group: naming series, and the least and the most of each measure, shape (n,), NaN unknown.

    The extremes are taken within each class, so that both are there however the classes differ.
    """
    series = np.array([_series(path.name) for path in data.paths])
    masks = {f"series {name}": series == name for name in sorted(set(series))}
    for name, values in measured.items():
        least, most = (np.zeros(len(data), dtype=np.bool_) for _ in range(2))
        for label in (0, 1):
            rows = np.flatnonzero((data.labels == label) & ~np.isnan(values))
            ordered = rows[np.argsort(values[rows], kind="stable")]
            count = round(SHARE * len(ordered))
            least[ordered[:count]] = most[ordered[len(ordered) - count :]] = True
        masks |= {f"least {name}": least, f"most {name}": most}
    return {name: rows for name, rows in masks.items() if rows.sum() >= MIN_IMAGES}


def measure_images(data: Dataset, sizes: Path | None, console: Console) -> dict[str, Floats]:
    """What images differ in, by name, shape (n,); sizes are in pixels, the others in grey values of 255 or a share."""
    rows = []
    for path in track(data.paths, "measuring images", console=console):
        image = decode(path.read_bytes(), FULL, Limits())
        small = image.resize((224, 224))
        pixels = np.asarray(small, np.float64)
        edges = np.asarray(small.filter(ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), 1, 128)), np.float64)
        rows.append((pixels.mean(), pixels.std(), edges[1:-1, 1:-1].std(), _rim(small), *image.size))
    brightness, contrast, sharpness, border, width, height = np.array(rows).T
    measured = {"brightness": brightness, "contrast": contrast, "sharpness": sharpness, "black border": border}
    if sizes is not None:
        with sizes.open(encoding="utf-8", newline="") as file:
            known = {row["file"]: (float(row["width"]), float(row["height"])) for row in csv.DictReader(file)}
        width, height = np.array([known.get(path.name, (np.nan, np.nan)) for path in data.paths]).T
    elif len(set(zip(width, height, strict=True))) == 1:
        return measured
    return measured | {"original pixels": width * height, "width to height": width / height}


def leave_out(data: Dataset, chosen: dict[str, Rows], predict: Predict, record: Path) -> list[GroupFigures]:
    """The figures of each group; those in the file `record` are not measured again.

    Patients of a group are fitted to in none of their images. Calibration and threshold come from the patients held
    out as ever, without those of the group; they lend the AUC a class that the group lacks.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    done = {}
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else ():
        figures = GroupFigures(**json.loads(line))
        done[figures.group] = figures
    patients, held_out = np.asarray(data.patients), data.held_out()
    for name, rows in chosen.items():
        if name in done:
            continue
        is_theirs = np.isin(patients, patients[rows])
        train = datasets.select(data, ~held_out & ~is_theirs)
        known, group = datasets.select(data, held_out & ~is_theirs), datasets.select(data, rows)
        done[name] = _figures(name, group, known, *predict(train, known, group))
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(done[name])) + "\n")
    return [done[name] for name in chosen]


def sort_worst_first(figures: list[GroupFigures]) -> list[GroupFigures]:
    """Worst recall first, and among equals the worst specificity."""

    def key(group: GroupFigures) -> tuple[float, float]:
        return 1.0 if group.recall is None else group.recall, 1.0 if group.specificity is None else group.specificity

    return sorted(figures, key=key)


def _figures(name: str, group: Dataset, known: Dataset, known_logits: Floats, logits: Floats) -> GroupFigures:
    fitted, threshold = calibration.fit_operating_point(known_logits, known.labels)
    answers = evaluation.decide(logits, group.labels, group.patients, fitted, threshold)
    is_ill = group.labels == 1
    recall, specificity = metrics.rates(answers.decisions, is_ill)
    counts = int(is_ill.sum()), int((~is_ill).sum())
    lent = np.full(len(known), False)
    for number, count in ((1, counts[0]), (0, counts[1])):
        if count < MIN_IMAGES:
            lent |= known.labels == number
    labels = np.concatenate([group.labels, known.labels[lent]])
    return GroupFigures(
        group=name,
        images=len(group),
        auc=metrics.auc(np.concatenate([logits, known_logits[lent]]), labels == 1),
        recall=recall if counts[0] >= MIN_IMAGES else None,
        specificity=specificity if counts[1] >= MIN_IMAGES else None,
    )


def _record(plan: Plan, data: Dataset) -> Path:
    """The file of finished groups' figures; another network, length, seed or other images have another file."""
    work = run_for(plan, data).work
    return work.with_name(f"{work.name}.groups.jsonl")  # a name may have dots in it


def _fitter(plan: Plan, console: Console) -> Predict:
    def predict(train: Dataset, known: Dataset, group: Dataset) -> tuple[Floats, Floats]:
        run = run_for(plan, train)
        model = fit.fit(run, train, known, console)
        logits = fit.logits(model, known.pixels), fit.logits(model, group.pixels)
        fit.forget(run.work)
        return logits

    return predict


def _series(name: str) -> str:
    """What a file's name begins with, up to the number: `IM-`, `NORMAL2-IM-`; and the kind, where it is named."""
    kind = re.search(r"_(bacteria|virus)_", name)
    return kind.group(1) if kind else re.split(r"\d(?!-)", name, maxsplit=1)[0]


def _rim(image: Image.Image) -> float:
    """The share of black pixels in the outermost rim, 0 to 1."""
    pixels = np.asarray(image)
    inner = np.zeros(pixels.shape, dtype=np.bool_)
    inner[RIM:-RIM, RIM:-RIM] = True
    return float((pixels[~inner] < BLACK).mean())
