"""What fine-tuning gained at a site, and what it lost where the version came from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.models import engines, manifest
from shared.models.manifest import Calibration
from shared.statistics import metrics
from shared.statistics.metrics import Answers
from trainer.calibration import Examination, apply
from trainer.datasets import Dataset

BEFORE = "before adaptation"
ORIGINAL_BEFORE, ORIGINAL_AFTER = "original data, before adaptation", "original data, after adaptation"

Logits = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""Takes pixels of shape (n, height, width, channels), 0 to 255; returns n logits."""


def measure(
    start: Path, after: Examination, logits: Logits, site: Dataset, original: Dataset | None
) -> dict[str, dict[str, Any]]:
    """Figures for a manifest's `metrics`, where those of the tuned version on the site's patients are `validation`.

    `start` is the folder of the version that was tuned; each version decides at its own threshold. `site` and
    `original` hold patients held out, whom neither version was fitted to.
    """
    old = manifest.read(start)
    network = engines.load(start, old)
    found = {BEFORE: _figures(network.logits, old.calibration, old.threshold, site)}
    if original is not None:
        found[ORIGINAL_BEFORE] = _figures(network.logits, old.calibration, old.threshold, original)
        found[ORIGINAL_AFTER] = _figures(logits, after.calibration, after.threshold, original)
    return found


def _figures(logits: Logits, calibration: Calibration, threshold: float, data: Dataset) -> dict[str, Any]:
    batches = [data.pixels[start : start + 64] for start in range(0, len(data), 64)]
    found = np.concatenate([np.asarray(logits(batch), dtype=np.float64) for batch in batches])
    probabilities = apply(calibration, found)
    answers = Answers(data.labels, found, probabilities, manifest.is_positive(probabilities, threshold), data.patients)
    counts = {"images": len(data), "patients": len(set(data.patients))}
    return {**metrics.measure(answers), "confusion": metrics.confusion(answers), **counts}
