"""What runs networks: one module for each engine. TensorFlow and LiteRT are imported when a network is loaded."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel
from shared.base.settings import EngineName
from shared.imaging import Preprocessing
from shared.models import novelty
from shared.models.engines.keras import FILE as KERAS_FILE
from shared.models.engines.keras import KerasNetwork, traced
from shared.models.engines.linear import FILE as LINEAR_FILE
from shared.models.engines.linear import LinearNetwork
from shared.models.engines.litert import LiteNetwork
from shared.models.manifest import Lite, Manifest, sha256
from shared.models.novelty import Familiarity

log = logging.getLogger(__name__)
GPUS = Path("/proc/driver/nvidia/gpus")
MAX_DIFFERENCE = 0.01
"""Of a logit, between two engines: a calibrated probability changes by a quarter of it at most, times the slope."""


__all__ = [
    "KERAS_FILE",
    "LINEAR_FILE",
    "KerasNetwork",
    "LinearNetwork",
    "LiteNetwork",
    "Network",
    "load",
    "traced",
    "trial_pixels",
]


class Network(Protocol):
    """A loaded network, ready to screen."""

    device: str
    """Where and by what it runs, for people to read."""
    novelty: Familiarity | None
    """The version's check for pictures that are not what it knows; None if it has none."""

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Takes pixels of shape (n, height, width, channels), 0 to 255; returns n logits of PNEUMONIA."""


def load(folder: Path, manifest: Manifest, engine: EngineName = "tensorflow") -> Network:
    """Load a version whose files were verified by `manifest.read`, and warm it up; raises BrokenModel.

    With `auto` TensorFlow takes over what LiteRT cannot run on this host.
    """
    if manifest.lite is None or not _is_for_litert(engine):
        return _load(folder, manifest, None)
    try:
        return _load(folder, manifest, manifest.lite)
    except BrokenModel as error:
        if engine == "litert" or not _is_installed("tensorflow"):
            raise
        log.warning("%s; TensorFlow runs it instead", error)
        return _load(folder, manifest, None)


def _load(folder: Path, manifest: Manifest, lite: Lite | None) -> Network:
    """By LiteRT if `lite` is given."""
    file = lite.file if lite else KERAS_FILE if manifest.engine == "keras" else LINEAR_FILE
    for needed in [file, *([manifest.familiarity.file] if manifest.familiarity else [])]:
        if needed not in manifest.files:
            raise BrokenModel(f"the manifest in {folder} does not vouch for {needed}")
    try:
        network: Network
        if lite is not None:
            network = LiteNetwork(_verified(folder / file, manifest.files[file]), manifest.preprocessing)
        elif manifest.engine == "keras":
            network = KerasNetwork(folder / file, manifest)
        else:
            network = LinearNetwork(folder / file, manifest)
        if manifest.familiarity is not None:
            network.novelty = novelty.load(folder / manifest.familiarity.file, manifest.familiarity.limit)
        size = manifest.preprocessing
        for count in (1, 32):
            blank = np.zeros((count, size.height, size.width, size.channels), np.uint8)
            logits = network.logits(blank)
            scores = network.novelty.scores(blank) if network.novelty is not None else np.zeros(count)
        trial = np.zeros(0) if lite is None else np.abs(network.logits(trial_pixels(size)) - lite.trial)
    except BrokenModel:
        raise
    except ModuleNotFoundError as error:
        raise BrokenModel(
            f"the network in {folder} needs {error.name}, which is not installed here: the extra `network` brings all "
            "that runs networks, the extra `litert` runs only versions that have a network for LiteRT"
        ) from error
    except Exception as error:
        raise BrokenModel(f"the network in {folder} does not load: {error}") from error
    if not np.isfinite([*logits, *scores]).all():
        raise BrokenModel(f"the network in {folder} answers a blank image with something that is not a number")
    if not (trial <= MAX_DIFFERENCE).all():
        raise BrokenModel(
            f"the network in {folder} answers otherwise by LiteRT on this host than by TensorFlow where it was made: "
            "it needs TensorFlow here (the extra `network`), and a setting `engine` other than litert"
        )
    return network


def _verified(path: Path, digest: str) -> bytes:
    """What the file holds now: `manifest.read` looked at it earlier."""
    data = path.read_bytes()
    if sha256(data) != digest:
        raise BrokenModel(f"{path} was changed since it was verified")
    return data


def trial_pixels(size: Preprocessing) -> NDArray[np.uint8]:
    """Ramps and waves of shape (4, height, width, channels), made of whole numbers alone: the same on every host."""
    y, x, channel = np.ogrid[: size.height, : size.width, : size.channels]
    patterns = [x * 255 // size.width, y * 255 // size.height, x * y % 256, (x // 8 + y // 8) % 2 * 255]
    return np.stack([(pattern + 0 * (x + y + channel)).astype(np.uint8) for pattern in patterns])


def _is_for_litert(engine: EngineName) -> bool:
    has_gpu = GPUS.is_dir() and any(GPUS.iterdir()) and _is_installed("tensorflow")
    return engine == "litert" or (engine == "auto" and _is_installed("ai_edge_litert") and not has_gpu)


def _is_installed(package: str) -> bool:
    return find_spec(package) is not None
