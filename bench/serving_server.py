"""The server of `bench.serving`: `python -m bench.serving_server OPTIONS`, those in JSON; it ends when its input does.

It follows LitServe's pages on batching and on faster serving: the server gathers requests into batches, and workers
have a network each. A pool of threads decodes in `batch`. The bytes come as the body itself: Base64 in JSON, as in the
examples, would cost both sides more.
"""

import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import litserve
import numpy as np
from fastapi import Body
from numpy.typing import NDArray

from shared.base.settings import EngineName
from shared.imaging import Limits, prepare
from shared.models import registry


class Screening(litserve.LitAPI):  # type: ignore[misc]
    def __init__(self, engine: EngineName, **options: Any) -> None:
        super().__init__(**options)
        self._engine: EngineName = engine

    def setup(self, device: str) -> None:
        self._loaded = registry.load_bundled(self._engine)
        self._threads = ThreadPoolExecutor(os.cpu_count())

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> bytes:
        return request

    def batch(self, inputs: list[bytes]) -> NDArray[np.uint8]:
        preprocessing, limits = self._loaded.manifest.preprocessing, Limits()
        return np.stack(list(self._threads.map(lambda data: prepare(data, preprocessing, limits), inputs)))

    def predict(self, x: NDArray[np.uint8]) -> list[float]:
        calibration = self._loaded.manifest.calibration
        return [calibration.probability(float(logit)) for logit in self._loaded.network.logits(x)]

    def unbatch(self, output: list[float]) -> list[float]:
        return output

    def encode_response(self, output: float) -> dict[str, Any]:
        return {"probability": output, "label": self._loaded.manifest.label(output)}


def main() -> None:
    options = json.loads(sys.argv[1])
    threading.Thread(target=_end_with_input, daemon=True).start()
    api = Screening(options["engine"], max_batch_size=options["batch"], batch_timeout=options["batch_timeout"])
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=options["workers"],
        timeout=options["timeout"],
        fast_queue=options["fast_queue"],
    )
    server.run(
        host="127.0.0.1",
        port=options["port"],
        num_api_servers=options["api_servers"],
        log_level="warning",
        generate_client_file=False,
    )


def _end_with_input() -> None:
    """Whoever started this keeps its input open, and may be killed: nothing of this is to outlive it."""
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read: a process forked meanwhile would wait for its lock
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
