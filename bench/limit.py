"""What one process can do: threads read and decode with draft scaling, the network takes batches of 32."""

import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.base.settings import EngineName
from shared.imaging import Limits, prepare
from shared.models import registry

BATCH = 32


def measure(files: Path, work: Path, part: str = "both", engine: EngineName = "auto") -> dict[str, float]:
    """`part` is decode, forward or both."""
    loaded, paths = registry.load_bundled(engine), sorted(files.iterdir())
    limits, preprocessing = Limits(), loaded.manifest.preprocessing

    def look(path: Path) -> NDArray[np.uint8]:
        return prepare(path.read_bytes(), preprocessing, limits)

    if part == "forward":
        batch = np.stack([look(path) for path in paths[:BATCH]])
        began = time.perf_counter()
        for _ in range(0, len(paths), BATCH):
            loaded.network.logits(batch)
        return {"images_per_second": len(paths) / (time.perf_counter() - began)}

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        began = time.perf_counter()
        waiting = deque(threads.submit(look, path) for path in paths)
        while waiting:
            pixels = [waiting.popleft().result() for _ in range(min(BATCH, len(waiting)))]
            if part == "both":
                loaded.network.logits(np.stack(pixels))
        seconds = time.perf_counter() - began
    return {"images_per_second": len(paths) / seconds}
