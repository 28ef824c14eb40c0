"""In the network's place something that takes STUB_SECONDS for each image: each process of the simulation loads it."""

import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.models import engines

SECONDS = float(os.environ["STUB_SECONDS"])


class Stub:
    device = "cpu"
    novelty = None

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(SECONDS * len(batch))
        return np.zeros(len(batch), np.float32)


def load(*_: Any) -> Stub:
    return Stub()


engines.load = load  # type: ignore[assignment]
