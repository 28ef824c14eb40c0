"""What the evidence map costs: the bundled network with it beside the same network without, batch by batch in turn."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.limit import BATCH
from shared.imaging import Limits, Preprocessing, prepare
from shared.models import manifest, registry
from shared.models.engines import keras as tensorflow
from shared.models.engines.litert import LiteRTNetwork
from trainer.litert_export import convert_exactly

TURNS = 60


def measure(files: Path, work: Path) -> dict[str, float]:
    """Medians, in milliseconds an image, and the times with the map over those without."""
    import keras

    folder = registry.bundled()
    size = manifest.read(folder).preprocessing
    model = keras.saving.load_model(folder / tensorflow.ENGINE.file, compile=False, safe_mode=True)
    extended = tensorflow.with_evidence(model)
    batch = np.stack([prepare(path.read_bytes(), size, Limits()) for path in sorted(files.iterdir())[:BATCH]])
    figures: dict[str, float] = {}
    for name, make in (("litert", _litert), ("tensorflow", _tensorflow)):
        calls = [make(each, size, batch) for each in (model, extended)]
        for call in calls:
            call()  # it starts
        seconds = np.array([[_seconds(call) for call in calls] for _ in range(TURNS)])
        alone, with_map = (1000 * statistics.median(each) / len(batch) for each in seconds.T.tolist())
        figures |= {f"ms_{name}": alone, f"ms_{name}_with_map": with_map, f"ratio_{name}": with_map / alone}
    return figures


def _litert(model: Any, size: Preprocessing, batch: NDArray[np.uint8]) -> Callable[[], object]:
    network = LiteRTNetwork(convert_exactly(model, size), size)
    return lambda: network.answers(batch)


def _tensorflow(model: Any, _: Preprocessing, batch: NDArray[np.uint8]) -> Callable[[], object]:
    call = tensorflow.traced(model, (None, *batch.shape[1:]))
    return lambda: [np.asarray(output) for output in call(batch)]


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
