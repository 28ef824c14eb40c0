"""Measures where a network finds its evidence: in the middle of the picture, where lungs lie, or in the rim around it.

Two ways, since a map says what a cell contributed and not what the cell's features saw: the map itself, and what the
network answers when parts of the picture are covered. Logits are measured, since probabilities saturate.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from shared.models import evidence
from shared.models.engines.keras import with_evidence
from shared.models.evidence import MIDDLE, rim_weights
from shared.statistics import metrics
from shared.statistics.intervals import LEVEL, Floats, draw_patients
from shared.statistics.metrics import Figure
from trainer import evaluation, fit
from trainer.datasets import Dataset
from trainer.evaluation import Predict

Pixels = NDArray[np.uint8]
Answer = Callable[[Pixels], tuple[NDArray[np.float32], NDArray[np.float32] | None]]
"""Takes pixels of shape (n, height, width, channels), 0 to 255; returns n logits and maps, (n, rows, columns)."""

ROUNDS = 1000
MAX_CURVES = 100
"""Images whose cells are covered step by step."""
STEPS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Shares of the cells that are covered, or shown."""
CHANCE = 1 - (1 - 2 * evidence.RIM) ** 2
"""The rim's share of the picture."""
METHOD = (
    "the middle is rows 1/8 to 13/16 and columns 1/8 to 7/8 of the pixels that the network sees, the rim the outer "
    f"eighth of each side, {CHANCE:.2f} of the area, which is what chance gives; curves: the mean logit towards the "
    "image's label over steps at which cells are covered by their image's mean (deletion, lower is better) or shown "
    f"on it (insertion, higher is better), of {MAX_CURVES} images at most, in the map's order, at random and centre "
    f"first; intervals are 95 % percentile bootstrap intervals over patients, {ROUNDS:,} rounds"
)


@dataclass(frozen=True)
class Measure:
    """One figure: its name in the manifest, and what people call it."""

    name: str
    title: str
    is_share_of_rim: bool = False


MEASURES = (
    Measure("auc", "AUC as it is"),
    Measure("auc_erased_mean", "AUC, middle covered by its mean"),
    Measure("auc_erased_black", "AUC, middle covered by black"),
    Measure("auc_erased_other", "AUC, middle of another image of the other class"),
    Measure("auc_erased_normal", "AUC, every middle that of a NORMAL image"),
    Measure("auc_erased_pneumonia", "AUC, every middle that of a PNEUMONIA image"),
    Measure("auc_middle_mean", "AUC, only the middle left, on its mean"),
    Measure("auc_middle_black", "AUC, only the middle left, on black"),
    Measure("auc_middle_other", "AUC, only the middle left, in surroundings of the other class"),
    Measure("rim_evidence", "share of positive evidence in the rim", is_share_of_rim=True),
    Measure("rim_hottest", "share of hottest cells in the rim", is_share_of_rim=True),
    Measure("deletion_map", "deletion by the map"),
    Measure("deletion_random", "deletion at random"),
    Measure("deletion_centre", "deletion, centre first"),
    Measure("insertion_map", "insertion by the map"),
    Measure("insertion_random", "insertion at random"),
    Measure("insertion_centre", "insertion, centre first"),
)


def measure(data: Dataset, logits: Predict, answer: Answer | None, console: Console) -> dict[str, Any]:
    """What a manifest's `metrics` hold under `evidence.MEASURED`: the figures of MEASURES that there are, and how.

    `data` holds images of both classes that the network was not fitted to; `answer` is None for a network without maps.
    """
    ill = data.labels == 1
    weights = np.concatenate(
        [np.ones((1, len(data))), *draw_patients(data.patients, ROUNDS, seed=0)]
    )  # the first row gives the figure, the others its interval
    figures: dict[str, Figure | None] = {}
    for name, pixels in track([*_covered(data)], "covering parts", console=console):
        answered = evaluation.predict(logits, evaluation.batches(pixels()))
        figures[name] = _area(answered, ill, weights)
    if answer is not None:
        drawn = np.concatenate([_maps(answer, batch) for batch in evaluation.batches(data.pixels)])
        figures |= _in_rim(drawn, weights)
        chosen = np.sort(np.random.default_rng(0).permutation(len(data))[:MAX_CURVES])
        figures |= _curves(data, chosen, drawn[chosen], logits, weights[:, chosen], console)
    return {
        "images": len(data),
        "patients": len(set(data.patients)),
        **{each.name: figure for each in MEASURES if (figure := figures.get(each.name)) is not None},
        "method": METHOD,
    }


def measure_fitted(model: Any, data: Dataset, console: Console) -> dict[str, Any]:
    """The same for a Keras model that was just fitted."""
    extended = with_evidence(model)
    if extended is None:
        return measure(data, partial(fit.logits, model), None, console)

    def answer(pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, maps = extended.predict_on_batch(pixels.astype(np.float32))
        return np.asarray(logits)[:, 0], np.asarray(maps)

    return measure(data, partial(fit.logits, model), answer, console)


def sentence(measured: dict[str, Any]) -> str:
    """What the gate notes of a version's evidence."""
    erased = [metrics.value(measured.get(name)) for name in ("auc_erased_mean", "auc_erased_black")]
    alone = metrics.value(measured.get("auc_middle_mean"))
    hottest = metrics.value(measured.get("rim_hottest"))
    where = "it has no evidence map" if hottest is None else f"the hottest cell lies in the rim for {hottest:.0%}"
    covered = max((figure for figure in erased if figure is not None), default=float("nan"))
    return (
        f"AUC {covered:.2f} with the middle covered (0.50 would be chance), {alone or float('nan'):.3f} with the "
        f"middle alone; {where} (chance: {CHANCE:.0%})."
    )


def middle_of(height: int, width: int) -> NDArray[np.bool_]:
    """Which pixels lie in the middle, shape (height, width)."""
    top, bottom, left, right = MIDDLE
    rows = (np.arange(height) + 0.5) / height
    columns = (np.arange(width) + 0.5) / width
    return np.outer((rows > top) & (rows < bottom), (columns > left) & (columns < right))


def _maps(answer: Answer, batch: Pixels) -> NDArray[np.float32]:
    _, maps = answer(batch)
    assert maps is not None
    return maps


def _covered(data: Dataset) -> Iterator[tuple[str, Callable[[], Pixels]]]:
    """By figure, what makes the pixels; each is made when it is needed, so that one set at a time is in memory."""
    pixels, labels = data.pixels, data.labels
    middle = middle_of(*pixels.shape[1:3])
    random = np.random.default_rng(0)
    by_class = [np.flatnonzero(labels == number) for number in (0, 1)]
    others = np.array([random.choice(by_class[1 - label]) for label in labels])
    of_class = [random.choice(rows, len(labels)) for rows in by_class]

    def fill(where: NDArray[np.bool_], by: str) -> Pixels:
        changed = pixels.copy()
        grey = pixels[:, where].mean(axis=(1, 2)).round() if by == "mean" else np.zeros(len(pixels))
        changed[:, where] = grey.astype(np.uint8)[:, np.newaxis, np.newaxis]
        return changed

    def exchange(where: NDArray[np.bool_], rows: NDArray[np.intp]) -> Pixels:
        changed = pixels.copy()
        changed[:, where] = pixels[rows][:, where]
        return changed

    yield "auc", lambda: pixels
    yield "auc_erased_mean", lambda: fill(middle, "mean")
    yield "auc_erased_black", lambda: fill(middle, "black")
    yield "auc_erased_other", lambda: exchange(middle, others)
    yield "auc_erased_normal", lambda: exchange(middle, of_class[0])
    yield "auc_erased_pneumonia", lambda: exchange(middle, of_class[1])
    yield "auc_middle_mean", lambda: fill(~middle, "mean")
    yield "auc_middle_black", lambda: fill(~middle, "black")
    yield "auc_middle_other", lambda: exchange(~middle, others)


def _in_rim(maps: NDArray[np.float32], weights: Floats) -> dict[str, Figure | None]:
    """An image in which nothing speaks for PNEUMONIA has no share, and no hottest cell."""
    rim = rim_weights(*maps.shape[1:])
    positive = np.maximum(maps, 0.0).astype(np.float64)
    totals = positive.sum(axis=(1, 2))
    shares = (positive * rim).sum(axis=(1, 2)) / np.where(totals > 0, totals, 1.0)
    hottest = rim.ravel()[positive.reshape(len(maps), -1).argmax(axis=1)]
    counted = totals > 0
    return {"rim_evidence": _mean(shares, weights * counted), "rim_hottest": _mean(hottest, weights * counted)}


def _curves(
    data: Dataset,
    rows: NDArray[np.intp],
    maps: NDArray[np.float32],
    logits: Predict,
    weights: Floats,
    console: Console,
) -> dict[str, Figure | None]:
    pixels, signs = data.pixels[rows], np.where(data.labels[rows] == 1, 1.0, -1.0)
    grid = maps.shape[1:]
    cells = grid[0] * grid[1]
    y, x = np.divmod(np.arange(cells), grid[1])
    from_centre = (y - (grid[0] - 1) / 2) ** 2 + (x - (grid[1] - 1) / 2) ** 2
    random = np.random.default_rng(0)
    orders: dict[str, NDArray[np.intp]] = {
        "map": np.argsort(-maps.reshape(len(rows), cells) * signs[:, np.newaxis], axis=1, kind="stable"),
        "random": np.stack([random.permutation(cells) for _ in rows]),
        "centre": np.tile(np.argsort(from_centre, kind="stable"), (len(rows), 1)),
    }
    figures: dict[str, Figure | None] = {}
    for name, order in track(orders.items(), "covering cells", console=console):
        ranks = np.argsort(order, axis=1)
        for mode in ("deletion", "insertion"):
            areas = np.zeros(len(rows))
            for share in STEPS:
                is_first = (ranks < round(share * cells)).reshape(len(rows), *grid)
                shown = is_first if mode == "insertion" else ~is_first
                answered = evaluation.predict(logits, evaluation.batches(_show(pixels, shown)))
                areas += signs * answered / len(STEPS)
            figures[f"{mode}_{name}"] = _mean(areas, weights)
    return figures


def _show(pixels: Pixels, shown: NDArray[np.bool_]) -> Pixels:
    """The cells that are shown, shape (n, rows, columns), on the mean of each image."""
    height, width = pixels.shape[1:3]
    y = np.arange(height) * shown.shape[1] // height
    x = np.arange(width) * shown.shape[2] // width
    mask = shown[:, y][:, :, x][..., np.newaxis]
    mean = pixels.mean(axis=(1, 2, 3), keepdims=True).round().astype(np.uint8)
    return np.where(mask, pixels, mean)


def _area(logits: Floats, ill: NDArray[np.bool_], weights: Floats) -> Figure | None:
    areas = metrics.aucs(logits, ill, weights)
    return None if areas is None else _figure(areas)


def _mean(values: Floats, weights: Floats) -> Figure | None:
    totals = weights.sum(axis=1)
    if not totals[0] > 0:
        return None
    with np.errstate(invalid="ignore"):
        return _figure((weights * values).sum(axis=1) / totals)


def _figure(values: Floats) -> Figure:
    """The first value, and the interval of the others; rounds in which it is undefined do not count."""
    low, high = np.nanquantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(value=float(values[0]), low=float(low), high=float(high))


def rows_of(measured: dict[str, Any]) -> Sequence[tuple[str, str, str, str]]:
    """For a table: what, value, 95 % interval, chance."""
    rows = []
    for each in MEASURES:
        figure = measured.get(each.name)
        if figure is not None:
            interval = f"{figure['low']:.3f} to {figure['high']:.3f}"
            chance = f"{CHANCE:.2f}" if each.is_share_of_rim else "0.50" if each.name.startswith("auc") else ""
            rows.append((each.title, f"{figure['value']:.3f}", interval, chance))
    return rows
