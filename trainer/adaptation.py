"""What fine-tuning gained at a site, and what it lost on the data that the version came from."""

from pathlib import Path
from typing import Any

from shared.models import engines, manifest
from shared.models.registry import Loaded
from trainer import evaluation
from trainer.calibration import Examination
from trainer.datasets import Dataset
from trainer.evaluation import Predict

BEFORE = "before adaptation"
ORIGINAL_BEFORE, ORIGINAL_AFTER = "original data, before adaptation", "original data, after adaptation"


def measure(
    start: Path, after: Examination, network: Predict, site: Dataset, original: Dataset | None
) -> dict[str, dict[str, Any]]:
    """Figures for a manifest's `metrics`, where those of the tuned version on the site's patients are `validation`.

    `start` is the folder of the version that was tuned; each version decides at its own threshold. `site` and
    `original` hold patients held out, whom neither version was fitted to.
    """
    old = manifest.read(start)
    before = Loaded(old, engines.load(start, old), start)
    measured = {BEFORE: evaluation.figures(evaluation.score(before, site))}
    if original is not None:
        logits = evaluation.predict(network, evaluation.batches(original.pixels))
        tuned = evaluation.decide(logits, original.labels, original.patients, after.calibration, after.threshold)
        measured[ORIGINAL_BEFORE] = evaluation.figures(evaluation.score(before, original))
        measured[ORIGINAL_AFTER] = evaluation.figures(tuned)
    return measured
