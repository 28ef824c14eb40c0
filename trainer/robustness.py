"""How a version travels: the same held-out patients framed, exposed, sharpened otherwise, and by group.

A better figure on the hospital that a network was fitted to says little about the next one. These changes stand for
what differs between hospitals; the worst of them counts.

    python -m trainer.robustness --data kermany/train --version shared/bundled/screen-20261121-2ad23c4c
"""

import argparse
import re
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from rich.console import Console
from rich.progress import track
from rich.table import Table

from shared.base.errors import PneumoscreenError, WorkFailed
from shared.imaging import Limits, arrange, decode
from shared.models import engines, manifest
from shared.models.registry import Loaded
from trainer import datasets

Change = Callable[[Image.Image], Image.Image]
BATCH = 64
FULL = (1024, 1024)


def frame(left: float, top: float, right: float, bottom: float) -> Change:
    """Cut off these shares of the sides; negative ones add black."""

    def change(image: Image.Image) -> Image.Image:
        width, height = image.size
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        return image.crop(tuple(round(side) for side in box))  # type: ignore[arg-type]

    return change


def expose(gamma: float) -> Change:
    return lambda image: image.point([round(255 * (value / 255) ** gamma) for value in range(256)])


def compress(quality: int) -> Change:
    """Through a JPEG of this quality, as another archive keeps its files."""

    def change(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("L")

    return change


def shrink(share: float) -> Change:
    """To this share of width and height and back: less detail, as an older scanner gives."""

    def change(image: Image.Image) -> Image.Image:
        small = image.resize((round(share * image.width), round(share * image.height)), Image.Resampling.BILINEAR)
        return small.resize(image.size, Image.Resampling.BILINEAR)

    return change


CHANGES: dict[str, Change] = {
    "as it is": lambda image: image,
    "a tenth cut off each side": frame(0.1, 0.1, 0.1, 0.1),
    "a tenth cut off top and bottom": frame(0, 0.1, 0, 0.1),
    "a tenth cut off left and right": frame(0.1, 0, 0.1, 0),
    "a tenth of black around": frame(-0.1, -0.1, -0.1, -0.1),
    "black above and below": frame(0, -0.15, 0, -0.15),
    "turned by 8 degrees": lambda image: image.rotate(8, Image.Resampling.BILINEAR),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 190)),
    "sharpened": lambda image: image.filter(ImageFilter.UnsharpMask(image.width / 110, 150, 0)),
    "compressed": compress(30),
    "half the detail": shrink(0.5),
    "brighter": expose(0.6),
    "darker": expose(1.6),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
}
GROUPS = {"IM-": "^IM-", "NORMAL2-IM-": "^NORMAL2-IM-", "bacteria": "_bacteria_", "virus": "_virus_"}
"""Naming series of the collection: they stand for when, where and of what kind."""


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, measure, print the table."""
    parser = argparse.ArgumentParser(
        "python -m trainer.robustness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled folders; patients held out are used")
    parser.add_argument("--version", type=Path, required=True, help="the folder of a version")
    options = parser.parse_args(arguments)
    console, errors = Console(width=100), Console(stderr=True, soft_wrap=True)
    try:
        console.print(measure(options.data, options.version, errors))
    except PneumoscreenError as error:
        errors.print(f"error: {error}", markup=False)
        return error.exit_code
    return 0


def measure(data: Path, version: Path, errors: Console) -> Table:
    """AUC, and recall and specificity at the version's own threshold, for each change and each group."""
    found = manifest.read(version)
    loaded = Loaded(found, engines.load(version, found))
    listed = [
        (path, label) for path, label in datasets.files(data) if datasets.is_held_out(datasets.patient(path.name))
    ]
    labels = np.array([label for _, label in listed], dtype=np.uint8)
    if len(set(labels.tolist())) < 2:
        raise WorkFailed(f"{data} holds no patients of both classes who are held out: there is nothing to measure on")
    images = [decode(path.read_bytes(), FULL, Limits()) for path, _ in track(listed, "reading images", console=errors)]
    table = Table("what", "images", "AUC", "recall", "specificity", title=f"{found.version} on held-out patients")
    plain = np.empty(0)
    for name, change in track(CHANGES.items(), "measuring", console=errors):
        probabilities = _probabilities(loaded, images, change)
        plain = probabilities if not plain.size else plain
        table.add_row(name, *_figures(probabilities, labels, found.threshold))
    for name, pattern in GROUPS.items():
        rows = np.array([re.search(pattern, path.name) is not None for path, _ in listed])
        if rows.any():
            table.add_row(f"series {name}", *_figures(plain[rows], labels[rows], found.threshold))
    return table


def _probabilities(loaded: Loaded, images: list[Image.Image], change: Change) -> NDArray[np.float64]:
    logits: list[float] = []
    for start in range(0, len(images), BATCH):
        part = [arrange(change(image), loaded.manifest.preprocessing) for image in images[start : start + BATCH]]
        logits.extend(loaded.network.logits(np.stack(part)).tolist())
    return np.array([loaded.manifest.calibration.probability(logit) for logit in logits])


def _figures(probabilities: NDArray[np.float64], labels: NDArray[np.uint8], threshold: float) -> list[str]:
    from sklearn.metrics import roc_auc_score

    ill, decided = labels == 1, manifest.is_positive(probabilities, threshold)
    auc = f"{roc_auc_score(labels, probabilities):.4f}" if 0 < ill.sum() < len(ill) else ""
    recall = f"{decided[ill].mean():.3f}" if ill.any() else ""
    return [str(len(labels)), auc, recall, f"{(~decided)[~ill].mean():.3f}" if (~ill).any() else ""]


if __name__ == "__main__":
    sys.exit(main())
