"""The one module that runs networks; it imports TensorFlow when it loads one, and not before."""

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared import familiarity
from shared.errors import BrokenModel
from shared.familiarity import Familiarity
from shared.manifest import Manifest

KERAS_FILE = "network.keras"
LINEAR_FILE = "weights.npy"


class Network(Protocol):
    """A loaded network, ready to screen."""

    device: str
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

        # As constants of the graph the weights let TensorFlow fold batch norm into the convolutions before it.
        fixed = [variable.numpy() for variable in model.trainable_variables]
        others = [variable.numpy() for variable in model.non_trainable_variables]

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])  # without it each batch size traces again
        def call(batch):  # type: ignore[no-untyped-def]
            constants = [tf.constant(value) for value in fixed], [tf.constant(value) for value in others]
            return model.stateless_call(*constants, tf.cast(batch, tf.float32), training=False)[0][:, 0]

        self._call = call
        self.device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(self._call(batch), dtype=np.float32)


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


def load(folder: Path, manifest: Manifest) -> "KerasNetwork | LinearNetwork":
    """Load a version whose files were verified by `manifest.read`, and warm it up; raises BrokenModel."""
    file = KERAS_FILE if manifest.engine == "keras" else LINEAR_FILE
    for needed in [file, *([manifest.familiarity.file] if manifest.familiarity else [])]:
        if needed not in manifest.files:
            raise BrokenModel(f"the manifest in {folder} does not vouch for {needed}")
    try:
        network: KerasNetwork | LinearNetwork
        if manifest.engine == "keras":
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
    except BrokenModel:
        raise
    except Exception as error:
        raise BrokenModel(f"the network in {folder} does not load: {error}") from error
    if not np.isfinite([*logits, *scores]).all():
        raise BrokenModel(f"the network in {folder} answers a blank image with something that is not a number")
    return network
