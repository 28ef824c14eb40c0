"""Runs networks with LiteRT, which is faster than TensorFlow on CPUs."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel
from shared.imaging import Preprocessing
from shared.models.engines.engine import Engine
from shared.models.manifest import Export, Manifest, read_verified
from shared.models.novelty import NoveltyCheck


class LiteRTNetwork:
    """Screens image by image in as many threads as there are cores: on CPUs faster than any batch."""

    device = "cpu, LiteRT"
    novelty: NoveltyCheck | None = None

    def __init__(self, data: bytes, size: Preprocessing) -> None:
        """`data` is the file's content, kept in memory so that a thread that starts later loads what was verified."""
        from ai_edge_litert import interpreter

        self._make: Callable[[], Any] = partial(interpreter.Interpreter, model_content=data, num_threads=1)
        self._held = threading.local()
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="network")
        shape = [1, size.height, size.width, size.channels]
        trial = self._make()
        input_shape = trial.get_input_details()[0]["shape"].tolist()
        if input_shape != shape:
            raise BrokenModel(f"the network for LiteRT takes pixels of shape {input_shape}, the manifest says {shape}")
        self.has_evidence = len(trial.get_output_details()) > 1

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.answers(batch)[0]

    def answers(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        answers = list(self._threads.map(self._answer, batch))
        logits = np.array([logit for logit, *_ in answers], dtype=np.float32)
        return logits, np.stack([evidence for _, evidence in answers]) if self.has_evidence else None

    def _answer(self, pixels: NDArray[np.uint8]) -> list[Any]:
        """Runs in a pool thread; each thread has its own interpreter, since interpreters are not thread-safe."""
        held = self._held
        if not hasattr(held, "interpreter"):
            interpreter = self._make()
            interpreter.allocate_tensors()
            held.pixels = interpreter.get_input_details()[0]["index"]
            outputs = interpreter.get_output_details()  # their order is not promised: a map has more dimensions
            held.outputs = [output["index"] for output in sorted(outputs, key=lambda output: len(output["shape"]))]
            held.interpreter = interpreter
        held.interpreter.set_tensor(held.pixels, pixels[np.newaxis])
        held.interpreter.invoke()
        logit, *maps = (held.interpreter.get_tensor(output) for output in held.outputs)
        return [float(logit.item()), *(evidence[0] for evidence in maps)]


def _load(folder: Path, manifest: Manifest, export: Export) -> LiteRTNetwork:
    return LiteRTNetwork(read_verified(folder, manifest, export.file), manifest.preprocessing)


ENGINE = Engine(
    name="litert",
    title="LiteRT",
    file="network.tflite",
    load=_load,
    package="ai_edge_litert",
    setting="litert",
    rank_on_cpu=0,
    rank_on_gpu=1,
)
