"""Logistic regression in NumPy: loads at once, for tests that kill processes by the dozen."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel
from shared.models.engines.engine import Engine
from shared.models.manifest import Export, Manifest
from shared.models.novelty import NoveltyCheck


class LinearNetwork:
    """Logistic regression on pixels, 0 to 1, the last weight being the intercept."""

    device = "cpu"
    novelty: NoveltyCheck | None = None
    has_evidence = False

    def __init__(self, path: Path, manifest: Manifest) -> None:
        size = manifest.preprocessing.height * manifest.preprocessing.width * manifest.preprocessing.channels
        self._weights = np.load(path, allow_pickle=False).astype(np.float32)
        if self._weights.shape != (size + 1,):
            raise BrokenModel(f"{path} holds weights of shape {self._weights.shape}, the manifest says ({size + 1},)")

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = batch.reshape(len(batch), -1).astype(np.float32) / 255.0
        return np.asarray(pixels @ self._weights[:-1] + self._weights[-1], dtype=np.float32)

    def answers(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], None]:
        return self.logits(batch), None


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
