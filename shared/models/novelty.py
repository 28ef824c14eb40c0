"""Out-of-distribution score: Mahalanobis distance of an image's pixels from the training set, in NumPy.

The pixels are the ones that the network sees.
"""

from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel

LAYOUT, FINE, COARSE = 10, 5, 8
"""Cells per side: for brightness, for fine texture, for coarse texture (at half the resolution)."""
SIZE = LAYOUT**2 + 2 * FINE**2 + 2 * COARSE**2
POINTS = 80
"""Approximate resolution per side; more would tell scanners and file formats apart rather than subjects."""
FLOOR = 0.005  # of the range from black to white: smaller steps are rounding errors
SMALLEST_SIDE = 2 * (COARSE + 1)
LARGEST_STEP = 16  # 16 * 16 * 255 is the largest sum that 16 bits hold
PART = 8
"""Images per block: small enough for the cache, and too small for OpenBLAS to start threads, which cost far more than
they save where other processes need the cores too."""

Number = TypeVar("Number", np.uint16, np.float32)


class NoveltyCheck:
    """Mahalanobis distance from the training images, scaled so that a typical training image scores about 1.

    Source: Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018; here with
    one Gaussian, of `features` instead of a network's layers, so that it serves any architecture.
    """

    def __init__(self, centre: NDArray[np.float32], whitening: NDArray[np.float32], limit: float) -> None:
        self._centre, self._whitening = centre, whitening
        self.limit = limit

    def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Takes pixels of shape (n, height, width, channels), 0 to 255; returns n distances."""
        return distances(features(batch), self._centre, self._whitening)

    def flags(self, batch: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which images of a batch, shape (n, height, width, channels), are called unfamiliar."""
        return np.array([self.is_unfamiliar(score) for score in self.scores(batch).tolist()], dtype=np.bool_)

    def is_unfamiliar(self, score: float) -> bool:
        return exceeds(score, self.limit)


def exceeds(score: float, limit: float) -> bool:
    """The only place where a score becomes a flag: by the version's limit, or by that of a source's operating point."""
    return score > limit


def limit_of(scores: NDArray[np.float64], share: float) -> float:
    """The limit above which at most this share of images like those scored lies, 0 to 1.

    That of a split conformal predictor (Vovk et al., 2005).
    """
    return float(np.sort(scores)[len(scores) - max(1, int(share * (len(scores) + 1)))])


def features(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Layout and texture of pixels of shape (n, height, width, channels); returns shape (n, SIZE).

    Layout is the mean brightness of a cell, 0 to 1; texture the logarithm of its mean step between neighbours, to the
    right and down. Sides are at least SMALLEST_SIDE.
    """
    parts = [_features(batch[start : start + PART, :, :, 0]) for start in range(0, len(batch), PART)]
    return np.concatenate([np.empty((0, SIZE), np.float32), *parts])


def _features(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    step = min(LARGEST_STEP, max(1, round(min(grey.shape[1:]) / POINTS)))
    fine = np.asarray(_shrink(grey, step, np.uint16) / np.float32(255 * step**2), dtype=np.float32)
    coarse = _shrink(fine, 2, np.float32) * np.float32(0.25)
    return np.concatenate([_cells(fine, LAYOUT), *_texture(fine, FINE), *_texture(coarse, COARSE)], axis=1)


def distances(
    features: NDArray[np.float32], centre: NDArray[np.float32], whitening: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Root mean square of whitened features, shape (n, SIZE); returns n distances."""
    parts = [(features[start : start + PART] - centre) @ whitening for start in range(0, len(features), PART)]
    white = np.concatenate([np.empty((0, SIZE), np.float32), *parts]).astype(np.float64)
    return np.asarray(np.sqrt((white**2).mean(axis=1)), dtype=np.float64)


def load(path: Path, limit: float) -> NoveltyCheck:
    """Read the parameters that lie beside a version's weights; raises BrokenModel."""
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            parameters: Mapping[str, NDArray[np.float32]] = {
                name: np.asarray(stored[name], dtype=np.float32) for name in ("centre", "whitening")
            }
    except Exception as error:
        raise BrokenModel(f"{path} does not load: {error}") from error
    shapes = {"centre": (SIZE,), "whitening": (SIZE, SIZE)}
    for name, values in parameters.items():
        if values.shape != shapes[name] or not np.isfinite(values).all():
            raise BrokenModel(f"{path} holds no usable {name}: finite numbers of shape {shapes[name]} are expected")
    return NoveltyCheck(parameters["centre"], parameters["whitening"], limit)


def _shrink(values: NDArray[Any], step: int, wide: type[Number]) -> NDArray[Number]:
    """Sums over squares of step x step pixels; the remainder at the right and the bottom is dropped."""
    height, width = (side - side % step for side in values.shape[1:])
    rows = values[:, 0:height:step, :width].astype(wide)  # rows first: adjacent memory is added fastest
    for row in range(1, step):
        rows += values[:, row:height:step, :width]
    total = rows[:, :, 0::step].copy()
    for column in range(1, step):
        total += rows[:, :, column::step]
    return total


def _texture(grey: NDArray[np.float32], count: int) -> list[NDArray[np.float32]]:
    steps = np.abs(np.diff(grey, axis=2)), np.abs(np.diff(grey, axis=1))
    return [np.log(_cells(step, count) + np.float32(FLOOR)) for step in steps]


def _cells(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Means over count x count cells, shape (n, count * count)."""
    number, height, width = values.shape
    rows = _averaging(height, count).T @ values
    means = rows.reshape(-1, width) @ _averaging(width, count)
    return np.asarray(means.reshape(number, count * count), dtype=np.float32)


@cache
def _averaging(side: int, count: int) -> NDArray[np.float32]:
    """A matrix of shape (side, count) that takes the means of `count` neighbouring parts."""
    part = np.arange(side) * count // side
    member = part[:, np.newaxis] == np.arange(count)
    return np.asarray(member / member.sum(axis=0), dtype=np.float32)
