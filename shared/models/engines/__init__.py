"""What runs networks: one module and one record per engine. Heavy libraries are imported when a network is loaded.

To add an engine, write a module with its `ENGINE` record and list it in `ENGINES`.
"""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel
from shared.base.settings import EngineName
from shared.imaging import Preprocessing
from shared.models import novelty
from shared.models.engines import keras, linear, litert
from shared.models.engines.engine import Engine, Network
from shared.models.manifest import Export, Manifest

log = logging.getLogger(__name__)
ENGINES = {engine.name: engine for engine in (litert.ENGINE, keras.ENGINE, linear.ENGINE)}
KERAS_FILE, LINEAR_FILE = keras.ENGINE.file, linear.ENGINE.file
GPUS = Path("/proc/driver/nvidia/gpus")
MAX_DIFFERENCE = 0.01
"""Of a logit, between two engines: a calibrated probability changes by a quarter of it at most, times the slope."""

__all__ = [
    "ENGINES",
    "KERAS_FILE",
    "LINEAR_FILE",
    "MAX_DIFFERENCE",
    "Engine",
    "Network",
    "load",
    "reference_pixels",
]


def load(folder: Path, manifest: Manifest, engine: EngineName = "tensorflow") -> Network:
    """Load a version whose files were verified by `manifest.read`, and warm it up; raises BrokenModel.

    With `auto` the fitted network takes over from a converted one that does not run correctly on this host.
    """
    export = _choose(folder, manifest, engine)
    try:
        return _load(folder, manifest, export)
    except BrokenModel as error:
        fitted = _fitted(manifest)
        if engine != "auto" or not export.is_converted or fitted is None:
            raise
        log.warning("%s; %s runs it instead", error, ENGINES[fitted.engine].title)
        return _load(folder, manifest, fitted)


def _choose(folder: Path, manifest: Manifest, setting: EngineName) -> Export:
    """The export that the setting names; else, of those that can run here, the one that suits the device best."""
    known = [export for export in manifest.exports if export.engine in ENGINES]
    if not known:
        names = ", ".join(export.engine for export in manifest.exports)
        raise BrokenModel(f"the network in {folder} is for {names}: this program runs {', '.join(ENGINES)}")
    for export in known:
        if setting == ENGINES[export.engine].setting:
            return export
    usable = [export for export in known if ENGINES[export.engine].is_available()]
    if setting != "auto":  # no file for the engine that is asked for: the network as it was fitted
        usable = [export for export in usable if not export.is_converted] or usable
    return min(usable or known, key=_rank)


def _rank(export: Export) -> int:
    engine = ENGINES[export.engine]
    return engine.rank_on_gpu if GPUS.is_dir() and any(GPUS.iterdir()) else engine.rank_on_cpu


def _fitted(manifest: Manifest) -> Export | None:
    """The network as it was fitted, where this host can run it."""
    for export in manifest.exports:
        if not export.is_converted and export.engine in ENGINES and ENGINES[export.engine].is_available():
            return export
    return None


def _load(folder: Path, manifest: Manifest, export: Export) -> Network:
    for needed in [export.file, *([manifest.novelty.file] if manifest.novelty else [])]:
        if needed not in manifest.files:
            raise BrokenModel(f"the manifest in {folder} does not vouch for {needed}")
    try:
        network = ENGINES[export.engine].load(folder, manifest, export)
        if manifest.novelty is not None:
            network.novelty = novelty.load(folder / manifest.novelty.file, manifest.novelty.limit)
        _warm_up(folder, network, manifest.preprocessing)
        difference = _difference(network, manifest.preprocessing, export)
    except BrokenModel:
        raise
    except ModuleNotFoundError as error:
        raise BrokenModel(
            f"the network in {folder} needs {error.name}, which is not installed here: the extra `network` brings all "
            "that runs networks, the extra `litert` runs only versions that have a network for LiteRT"
        ) from error
    except Exception as error:
        raise BrokenModel(f"the network in {folder} does not load: {error}") from error
    if not difference <= MAX_DIFFERENCE:
        raise BrokenModel(
            f"the network in {folder} gives different results with {ENGINES[export.engine].title} on this host than "
            "with TensorFlow where it was built: it needs TensorFlow here (the extra `network`), and a setting "
            f"`engine` other than {export.engine}"
        )
    return network


def _warm_up(folder: Path, network: Network, size: Preprocessing) -> None:
    """Screen blank images, alone and many at a time; raises BrokenModel if a result is not a number."""
    for count in (1, 32):
        blank = np.zeros((count, size.height, size.width, size.channels), np.uint8)
        logits = network.logits(blank)
        scores = network.novelty.scores(blank) if network.novelty is not None else np.zeros(count)
        if not np.isfinite([*logits, *scores]).all():
            raise BrokenModel(f"the network in {folder} answers a blank image with something that is not a number")


def _difference(network: Network, size: Preprocessing, export: Export) -> float:
    """The largest difference of a logit from the fitted network's; 0 for the fitted network itself."""
    if export.reference_logits is None:
        return 0.0
    return float(np.abs(network.logits(reference_pixels(size)) - export.reference_logits).max())


def reference_pixels(size: Preprocessing) -> NDArray[np.uint8]:
    """Ramps and checks of shape (4, height, width, channels), in integer arithmetic: the same on every host."""
    y, x, channel = np.ogrid[: size.height, : size.width, : size.channels]
    patterns = [x * 255 // size.width, y * 255 // size.height, x * y % 256, (x // 8 + y // 8) % 2 * 255]
    return np.stack([(pattern + 0 * (x + y + channel)).astype(np.uint8) for pattern in patterns])
