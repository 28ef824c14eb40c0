"""How an architecture does on groups of images that it was never fitted to, each left out in its turn.

A figure on patients held out from the same heap says little about the next hospital. Groups that differ as hospitals
differ say more: by naming series, and the fifth of each class with the least or the most of what images differ in.

    python -m trainer.group_holdout --data kermany/train --sizes kermany/original_sizes.csv --epochs 6 --work runs/groups

Each group costs a training; the same command goes on after a kill. The worst group is what counts.
"""

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from rich.console import Console
from rich.progress import track
from rich.table import Table

from shared.base.errors import PneumoscreenError, WorkFailed
from shared.imaging import Limits, decode
from shared.models.manifest import is_positive
from trainer import architectures, calibration, datasets, fit, pipeline
from trainer.datasets import Dataset
from trainer.pipeline import Order

SHARE = 0.2
MIN_IMAGES = 30  # of a class, for a figure on it to mean anything
FULL = (1024, 1024)
RIM = 16  # pixels of a side of 224
BLACK = 16  # of 255

Rows = NDArray[np.bool_]
Floats = NDArray[np.float64]
Predict = Callable[[Dataset, Dataset, Dataset], tuple[Floats, Floats]]
"""Fits to the first and returns the logits of the second, held out, and of the third, the group."""


@dataclass(frozen=True)
class Found:
    """The figures of one group; None where it has too few images of a class."""

    group: str
    images: int
    auc: float | None
    recall: float | None
    specificity: float | None


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, leave out group after group, print the table."""
    parser = argparse.ArgumentParser(
        "python -m trainer.group_holdout", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled folders")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints, and the figures of groups that are done")
    parser.add_argument("--architecture", default="screen", help="by name (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="passes over the images (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sizes", type=Path, help="CSV with columns file, width, height of the originals, if resized")
    parser.add_argument("--only", help="groups whose name matches this regular expression")
    options = parser.parse_args(arguments)
    console, errors = Console(width=100), Console(stderr=True, soft_wrap=True)
    order = Order(options.architecture, options.work, options.work, options.epochs, options.seed)
    try:
        data = datasets.read(options.data, architectures.preprocessing(order.architecture), errors, work=order.work)
        chosen = {
            name: rows
            for name, rows in groups(data, measure_images(data, options.sizes, errors)).items()
            if options.only is None or re.search(options.only, name)
        }
        if not chosen:
            raise WorkFailed(f"no group of at least {MIN_IMAGES} images is called {options.only!r}: leave --only out")
        console.print(show(order.architecture, leave_out(data, chosen, _fitter(order, errors), _story(order, data))))
    except PneumoscreenError as error:
        errors.print(f"error: {error}", markup=False)
        return error.exit_code
    return 0


def groups(data: Dataset, measured: dict[str, Floats]) -> dict[str, Rows]:
    """Masks of shape (n,) by group: naming series, and the least and the most of each measure, shape (n,), NaN unknown.

    The extremes are taken within each class, so that both are there however the classes differ.
    """
    series = np.array([_series(path.name) for path in data.paths])
    found = {f"series {name}": series == name for name in sorted(set(series))}
    for name, values in measured.items():
        least, most = (np.zeros(len(data), dtype=np.bool_) for _ in range(2))
        for label in (0, 1):
            rows = np.flatnonzero((data.labels == label) & ~np.isnan(values))
            ordered = rows[np.argsort(values[rows], kind="stable")]
            count = round(SHARE * len(ordered))
            least[ordered[:count]] = most[ordered[len(ordered) - count :]] = True
        found |= {f"least {name}": least, f"most {name}": most}
    return {name: rows for name, rows in found.items() if rows.sum() >= MIN_IMAGES}


def measure_images(data: Dataset, sizes: Path | None, errors: Console) -> dict[str, Floats]:
    """What images differ in, by name, shape (n,); sizes are in pixels, the others in grey values of 255 or a share."""
    rows = []
    for path in track(data.paths, "measuring images", console=errors):
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


def leave_out(data: Dataset, chosen: dict[str, Rows], predict: Predict, story: Path) -> list[Found]:
    """The figures of each group; those in the file `story` are not measured again.

    Patients of a group are fitted to in none of their images. Calibration and threshold come from the patients held
    out as ever, without those of the group; a class that the group lacks is lent by them for the AUC.
    """
    story.parent.mkdir(parents=True, exist_ok=True)
    done = {}
    for line in story.read_text(encoding="utf-8").splitlines() if story.exists() else ():
        found = Found(**json.loads(line))
        done[found.group] = found
    patients, held_out = np.asarray(data.patients), data.held_out()
    for name, rows in chosen.items():
        if name in done:
            continue
        is_theirs = np.isin(patients, patients[rows])
        train = datasets.select(data, ~held_out & ~is_theirs)
        known, group = datasets.select(data, held_out & ~is_theirs), datasets.select(data, rows)
        done[name] = _figures(name, group, known, *predict(train, known, group))
        with story.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(done[name])) + "\n")
    return [done[name] for name in chosen]


def show(architecture: str, found: list[Found]) -> Table:
    """Worst recall first, and among equals the worst specificity."""
    table = Table("left out", "images", "AUC", "recall", "specificity", title=f"{architecture}, groups left out")
    for one in sorted(
        found, key=lambda one: [1.0 if value is None else value for value in (one.recall, one.specificity)]
    ):
        figures = (one.auc, one.recall, one.specificity)
        table.add_row(one.group, str(one.images), *("" if value is None else f"{value:.3f}" for value in figures))
    return table


def _figures(name: str, group: Dataset, known: Dataset, known_logits: Floats, logits: Floats) -> Found:
    from sklearn.metrics import roc_auc_score

    fitted = calibration.calibrate(known_logits, known.labels)
    threshold = calibration.choose_threshold(calibration.apply(fitted, known_logits), known.labels)
    decided = is_positive(calibration.apply(fitted, logits), threshold)
    ill, healthy = group.labels == 1, group.labels == 0
    lent = np.full(len(known), False)
    for number, rows in enumerate((healthy, ill)):
        if rows.sum() < MIN_IMAGES:
            lent |= known.labels == number
    labels = np.concatenate([group.labels, known.labels[lent]])
    return Found(
        group=name,
        images=len(group),
        auc=float(roc_auc_score(labels, np.concatenate([logits, known_logits[lent]]))),
        recall=float(decided[ill].mean()) if ill.sum() >= MIN_IMAGES else None,
        specificity=float((~decided)[healthy].mean()) if healthy.sum() >= MIN_IMAGES else None,
    )


def _story(order: Order, data: Dataset) -> Path:
    """Where the figures of groups that are done lie: another network, length, seed or other images have another."""
    work = pipeline.run_for(order, data).work
    return work.with_name(f"{work.name}.groups.jsonl")  # a name may have dots in it


def _fitter(order: Order, errors: Console) -> Predict:
    def predict(train: Dataset, known: Dataset, group: Dataset) -> tuple[Floats, Floats]:
        run = pipeline.run_for(order, train)
        model = fit.fit(run, train, known, errors)
        found = fit.logits(model, known.pixels), fit.logits(model, group.pixels)
        fit.forget(run.work)
        return found

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


if __name__ == "__main__":
    sys.exit(main())
