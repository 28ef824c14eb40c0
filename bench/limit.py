"""The limit of one process: threads read and decode with draft scaling, the network takes batches of 32."""

import json
import os
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from shared.imaging import Limits, prepare
from shared.manifest import NAME, sha256
from shared.registry import Published, load

BATCH = 32


def main(files: Path, model: Path) -> None:
    loaded = load(model.parent, Published(model.name, _digest(model)))
    limits, preprocessing = Limits(), loaded.manifest.preprocessing
    paths = sorted(files.iterdir())
    threads = ThreadPoolExecutor(os.cpu_count())
    began = time.perf_counter()
    waiting = deque(threads.submit(lambda p: prepare(p.read_bytes(), preprocessing, limits), p) for p in paths)
    done = 0
    while waiting:
        batch = np.stack([waiting.popleft().result() for _ in range(min(BATCH, len(waiting)))])
        done += len(loaded.network.logits(batch))
    print(json.dumps({"images_per_second": done / (time.perf_counter() - began)}))


def _digest(model: Path) -> str:
    return sha256((model / NAME).read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
