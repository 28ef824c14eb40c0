"""How well a version transfers: held-out patients reframed, exposed and sharpened differently, and by naming series.

Better figures on the hospital that a network was fitted to say little about the next one. These changes stand for what
differs between hospitals; the worst of them counts.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from rich.console import Console
from rich.progress import track

from shared.base.errors import ImageError, WorkFailed
from shared.imaging import Limits, Preprocessing, arrange, decode
from shared.models.registry import Loaded
from shared.statistics import metrics
from shared.statistics.metrics import Answers
from trainer import datasets, evaluation, listing
from trainer.evaluation import Floats, Predict
from trainer.listing import Site

Change = Callable[[Image.Image], Image.Image]
FULL = (1024, 1024)
AS_IT_IS = "as it is"
MAX_IMAGES = 1000
"""Held-out images that are changed for the choice of a threshold: more take longer and say the same."""


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
    AS_IT_IS: lambda image: image,
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
"""Naming series of the collection: they stand for time, place and kind."""


@dataclass(frozen=True)
class Measured:
    """Figures at the version's own threshold; None where a class is missing."""

    name: str
    images: int
    auc: float | None
    recall: float | None
    specificity: float | None


@dataclass(frozen=True)
class Changed:
    """Some images' logits under each change, for choosing a threshold that holds elsewhere.

    rows: the images, shape (m,), as numbers of rows; logits: by change, shape (m,).
    """

    rows: NDArray[np.intp]
    logits: dict[str, Floats]


def predict_changed(
    network: Predict, paths: Sequence[Path], size: Preprocessing, limits: Limits, console: Console
) -> Changed:
    """At most MAX_IMAGES of these images, the same ones each time; one that cannot be read any more is left out."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(paths))[:MAX_IMAGES])
    rows: list[int] = []

    def images() -> Iterator[Image.Image]:
        for row in track(chosen.tolist(), "changing held-out images", console=console):
            try:
                image = decode(paths[row].read_bytes(), FULL, limits)
            except (OSError, ImageError):
                continue
            rows.append(row)
            yield image

    pixels = prepare_changed(images(), size, [name for name in CHANGES if name != AS_IT_IS])
    logits = {name: evaluation.predict(network, evaluation.batches(each)) for name, each in pixels.items()}
    return Changed(np.array(rows, dtype=np.intp), logits)


def prepare_changed(
    images: Iterable[Image.Image], size: Preprocessing, names: Sequence[str]
) -> dict[str, NDArray[np.uint8]]:
    """The pixels of the images under each of these changes, shape (n, height, width, channels); one image at a time."""
    pixels: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in names}
    for image in images:
        for name in names:
            pixels[name].append(arrange(CHANGES[name](image), size))
    shape = (0, size.height, size.width, size.channels)
    return {name: np.stack(each) if each else np.empty(shape, np.uint8) for name, each in pixels.items()}


def measure(loaded: Loaded, data: Path, console: Console, site: Site | None = None) -> list[Measured]:
    """AUC, recall and specificity for each change and each naming series, on patients held out.

    Raises WorkFailed where the folder holds no patients of both classes who are held out.
    """
    site = site or Site()
    listed = listing.read(data)
    files, whose, images = [], [], []
    for file in track(listed.files, "reading images", console=console):
        content = file.path.read_bytes()
        patient = file.owner_of(content, listed.pattern, site).patient
        if datasets.is_held_out(patient):
            files.append(file)
            whose.append(patient)
            images.append(decode(content, FULL, site.limits))
    labels, patients = np.array([file.label for file in files], dtype=np.uint8), tuple(whose)
    if len(set(labels.tolist())) < 2:
        raise WorkFailed(f"{data} holds no patients of both classes who are held out: there is nothing to measure on")
    answers = {}
    for name in track(CHANGES, "measuring", console=console):
        pixels = prepare_changed(images, loaded.manifest.preprocessing, [name])[name]
        logits = evaluation.predict(loaded.network.logits, evaluation.batches(pixels))
        answers[name] = evaluation.answer(loaded, logits, labels, patients)
    everything = np.ones(len(labels), dtype=np.bool_)
    measured = [_measure(name, changed, everything) for name, changed in answers.items()]
    for name, pattern in GROUPS.items():
        rows = np.array([re.search(pattern, file.path.name) is not None for file in files])
        if rows.any():
            measured.append(_measure(f"series {name}", answers[AS_IT_IS], rows))
    return measured


def _measure(name: str, answers: Answers, rows: NDArray[np.bool_]) -> Measured:
    is_ill = answers.labels[rows] == 1
    area = metrics.auc(answers.probabilities[rows], is_ill)
    return Measured(name, int(rows.sum()), area, *metrics.rates(answers.decisions[rows], is_ill))
