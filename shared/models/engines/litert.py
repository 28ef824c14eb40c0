"""Networks run by LiteRT, image by image: faster than TensorFlow on CPUs."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel
from shared.imaging import Preprocessing
from shared.models.novelty import Familiarity

FILE = "network.tflite"


class LiteNetwork:
    """A network for LiteRT, image by image in as many threads as there are cores: faster than any batch on CPUs."""

    device = "cpu, LiteRT"
    novelty: Familiarity | None = None

    def __init__(self, data: bytes, size: Preprocessing) -> None:
        """`data` is the file, kept: what a thread starts with later is what was verified."""
        from ai_edge_litert import interpreter

        self._make: Callable[[], Any] = partial(interpreter.Interpreter, model_content=data, num_threads=1)
        self._held = threading.local()
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="network")
        shape = [1, size.height, size.width, size.channels]
        found = self._make().get_input_details()[0]["shape"].tolist()
        if found != shape:
            raise BrokenModel(f"the network for LiteRT takes pixels of shape {found}, the manifest wants {shape}")

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.fromiter(self._threads.map(self._logit, batch), np.float32, len(batch))

    def _logit(self, pixels: NDArray[np.uint8]) -> float:
        """In a thread, which keeps an interpreter of its own: one serves one thread."""
        held = self._held
        if not hasattr(held, "interpreter"):
            interpreter = self._make()
            interpreter.allocate_tensors()
            held.pixels = interpreter.get_input_details()[0]["index"]
            held.logit = interpreter.get_output_details()[0]["index"]
            held.interpreter = interpreter
        held.interpreter.set_tensor(held.pixels, pixels[np.newaxis])
        held.interpreter.invoke()
        return float(held.interpreter.get_tensor(held.logit).item())
