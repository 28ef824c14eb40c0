"""The one module that runs networks; it imports TensorFlow or LiteRT when it loads one, and not before.

What else knows of LiteRT: `EngineName` in `settings.py`, `Lite` in `manifest.py`, `trainer/lite.py`, which makes its
file, and the stages of `bench/profile.py`.
"""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared import familiarity
from shared.errors import BrokenModel
from shared.familiarity import Familiarity
from shared.imaging import Preprocessing
from shared.manifest import Lite, Manifest, sha256
from shared.settings import EngineName

log = logging.getLogger(__name__)
KERAS_FILE = "network.keras"
LINEAR_FILE = "weights.npy"
GPUS = Path("/proc/driver/nvidia/gpus")
MOST_DIFFERENCE = 0.01
"""Of a logit, between two engines: a calibrated probability changes by a quarter of it at most, times the slope."""


class Network(Protocol):
    """A loaded network, ready to screen."""

    device: str
    """Where and by what it runs, for people to read."""
    familiarity: Familiarity | None
    """The version's check for pictures that are not what it knows; None if it has none."""

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Takes pixels of shape (n, height, width, channels), 0 to 255; returns n logits of PNEUMONIA."""


class KerasNetwork:
    """A Keras model that takes raw pixels and returns one logit, traced once for every batch size."""

    familiarity: Familiarity | None = None

    def __init__(self, path: Path, manifest: Manifest) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        shape = (None, manifest.preprocessing.height, manifest.preprocessing.width, manifest.preprocessing.channels)
        if tuple(model.input_shape) != shape or tuple(model.output_shape) != (None, 1):
            raise BrokenModel(
                f"{path} maps {model.input_shape} to {model.output_shape}, the manifest wants {shape} to (None, 1)"
            )

        self._call = traced(model, shape)
        self.device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(self._call(batch), dtype=np.float32)


def traced(model: Any, shape: tuple[int | None, ...]) -> Any:
    """A TensorFlow function of pixels of that shape, dtype uint8; returns a logit of PNEUMONIA for each image.

    As constants of the graph the weights let TensorFlow fold batch norm into the convolutions before it.
    """
    import tensorflow as tf

    fixed = [variable.numpy() for variable in model.trainable_variables]
    others = [variable.numpy() for variable in model.non_trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])  # without it each batch size traces again
    def call(batch):  # type: ignore[no-untyped-def]
        constants = [tf.constant(value) for value in fixed], [tf.constant(value) for value in others]
        return model.stateless_call(*constants, tf.cast(batch, tf.float32), training=False)[0][:, 0]

    return call


class LiteNetwork:
    """A network for LiteRT, image by image in as many threads as there are cores: faster than any batch on CPUs."""

    device = "cpu, LiteRT"
    familiarity: Familiarity | None = None

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


class LinearNetwork:
    """Logistic regression on pixels in NumPy: loads in no time, for tests that kill processes by the dozen."""

    device = "cpu"
    familiarity: Familiarity | None = None

    def __init__(self, path: Path, manifest: Manifest) -> None:
        size = manifest.preprocessing.height * manifest.preprocessing.width * manifest.preprocessing.channels
        self._weights = np.load(path, allow_pickle=False).astype(np.float32)
        if self._weights.shape != (size + 1,):
            raise BrokenModel(f"{path} holds weights of shape {self._weights.shape}, the manifest wants ({size + 1},)")

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = batch.reshape(len(batch), -1).astype(np.float32) / 255.0
        return np.asarray(pixels @ self._weights[:-1] + self._weights[-1], dtype=np.float32)


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
            network.familiarity = familiarity.load(folder / manifest.familiarity.file, manifest.familiarity.limit)
        size = manifest.preprocessing
        for count in (1, 32):
            blank = np.zeros((count, size.height, size.width, size.channels), np.uint8)
            logits = network.logits(blank)
            scores = network.familiarity.scores(blank) if network.familiarity is not None else np.zeros(count)
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
    if not (trial <= MOST_DIFFERENCE).all():
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
