"""Logistic regression in NumPy: a network that loads in no time, for tests that kill processes by the dozen."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel
from shared.models.manifest import Manifest
from shared.models.novelty import Familiarity

FILE = "weights.npy"


class LinearNetwork:
    """Logistic regression on pixels in NumPy: loads in no time, for tests that kill processes by the dozen."""

    device = "cpu"
    novelty: Familiarity | None = None

    def __init__(self, path: Path, manifest: Manifest) -> None:
        size = manifest.preprocessing.height * manifest.preprocessing.width * manifest.preprocessing.channels
        self._weights = np.load(path, allow_pickle=False).astype(np.float32)
        if self._weights.shape != (size + 1,):
            raise BrokenModel(f"{path} holds weights of shape {self._weights.shape}, the manifest wants ({size + 1},)")

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = batch.reshape(len(batch), -1).astype(np.float32) / 255.0
        return np.asarray(pixels @ self._weights[:-1] + self._weights[-1], dtype=np.float32)
