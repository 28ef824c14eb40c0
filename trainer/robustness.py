"""How well a version transfers: held-out patients reframed, exposed and sharpened differently, and by naming series.

Better figures on the hospital that a network was fitted to say little about the next one. These changes stand for what
differs between hospitals; the worst of them counts.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from rich.console import Console
from rich.progress import track

from shared.base.errors import ImageError
from shared.imaging import Limits, Preprocessing, arrange, decode
from shared.models.registry import Loaded
from shared.statistics import metrics
from shared.statistics.metrics import Answers
from trainer import datasets, evaluation
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
DISTURBANCES = tuple(name for name in CHANGES if name != AS_IT_IS)
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
    network: Predict,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    limits: Limits,
    console: Console,
    names: Sequence[str] = DISTURBANCES,
    limit: int | None = MAX_IMAGES,
) -> Changed:
    """Logits of at most `limit` of these images, the same ones each time (None: of all), under the changes `names`.

    An image that cannot be read any more is left out, and the console says how many were.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(paths))[:limit])
    logits: dict[str, list[float]] = {name: [] for name in names}
    rows: list[int] = []
    progress = track(chosen.tolist(), "changing held-out images", console=console)
    prepared = _prepare(paths, progress, preprocessing, limits, names)
    while part := list(islice(prepared, evaluation.BATCH)):
        rows.extend(row for row, _ in part)
        for name, pixels in zip(names, np.stack([each for _, each in part], axis=1), strict=True):
            logits[name].extend(evaluation.predict(network, [pixels]).tolist())
    if lost := len(chosen) - len(rows):
        console.print(f"{lost} of {len(chosen)} images could not be read again, to be changed: they are left out")
    return Changed(np.array(rows, np.intp), {name: np.array(each, np.float64) for name, each in logits.items()})


def _prepare(
    paths: Sequence[Path], rows: Iterable[int], preprocessing: Preprocessing, limits: Limits, names: Sequence[str]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Each row that can be read, with its pixels under each change, shape (changes, height, width, channels)."""
    for row in rows:
        try:
            image = decode(paths[row].read_bytes(), FULL, limits)
        except (OSError, ImageError):
            continue
        yield row, np.stack([arrange(CHANGES[name](image), preprocessing) for name in names])


def measure(loaded: Loaded, data: Path, console: Console, site: Site | None = None) -> list[Measured]:
    """AUC, recall and specificity for each change and each naming series, on patients held out.

    Raises WorkFailed where the folder holds no patients of both classes who are held out, WrongSettings where a class
    has no readable image at all.
    """
    preprocessing, site = loaded.manifest.preprocessing, site or Site()
    images = datasets.select_held_out(datasets.read_to_measure(data, preprocessing, console, site), data)
    network, limits = loaded.network.logits, site.limits
    changed = predict_changed(network, images.paths, preprocessing, limits, console, tuple(CHANGES), limit=None)
    labels, paths = images.labels[changed.rows], [images.paths[row] for row in changed.rows]
    patients = tuple(images.patients[row] for row in changed.rows)
    answers = {name: evaluation.answer(loaded, logits, labels, patients) for name, logits in changed.logits.items()}
    everything = np.ones(len(labels), dtype=np.bool_)
    measured = [_measure(name, each, everything) for name, each in answers.items()]
    for name, pattern in GROUPS.items():
        rows = np.array([re.search(pattern, path.name) is not None for path in paths])
        if rows.any():
            measured.append(_measure(f"series {name}", answers[AS_IT_IS], rows))
    return measured


def _measure(name: str, answers: Answers, rows: NDArray[np.bool_]) -> Measured:
    is_ill = answers.labels[rows] == 1
    area = metrics.auc(answers.probabilities[rows], is_ill)
    return Measured(name, int(rows.sum()), area, *metrics.rates(answers.decisions[rows], is_ill))
