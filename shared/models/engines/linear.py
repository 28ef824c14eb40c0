"""Logistic regression in NumPy: loads at once, for tests that kill processes by the dozen."""

from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel
from shared.models.engines.engine import Engine
from shared.models.manifest import Export, Manifest
from shared.models.novelty import NoveltyCheck

CELLS = 8
"""Rows and columns of the evidence map, or fewer where they do not divide a side."""


class LinearNetwork:
    """Logistic regression on pixels, 0 to 1, the last weight being the intercept."""

    device = "cpu"
    novelty: NoveltyCheck | None = None
    has_evidence = True

    def __init__(self, path: Path, manifest: Manifest) -> None:
        shape = manifest.preprocessing
        size = shape.height * shape.width * shape.channels
        self._cells = gcd(shape.height, CELLS), gcd(shape.width, CELLS)
        self._weights = np.load(path, allow_pickle=False).astype(np.float32)
        if self._weights.shape != (size + 1,):
            raise BrokenModel(f"{path} holds weights of shape {self._weights.shape}, the manifest says ({size + 1},)")

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = batch.reshape(len(batch), -1).astype(np.float32) / 255.0
        return np.asarray(pixels @ self._weights[:-1] + self._weights[-1], dtype=np.float32)

    def answers(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The map of a cell is the sum of what its pixels contribute, times the number of cells."""
        number, height, width, channels = batch.shape
        rows, columns = self._cells
        weights = self._weights[:-1].reshape(height, width, channels)
        moved = (batch.astype(np.float32) / 255.0 * weights).sum(axis=3)
        parts = moved.reshape(number, rows, height // rows, columns, width // columns)
        return self.logits(batch), np.asarray(parts.sum(axis=(2, 4)) * (rows * columns), dtype=np.float32)


def _load(folder: Path, manifest: Manifest, export: Export) -> LinearNetwork:
    return LinearNetwork(folder / export.file, manifest)


ENGINE = Engine(
    name="linear",
    title="NumPy",
    file="weights.npy",
    load=_load,
    package=None,
    setting=None,
    rank_on_cpu=2,
    rank_on_gpu=2,
)
