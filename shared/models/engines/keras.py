"""Keras models run by TensorFlow: on GPUs, and on CPUs where LiteRT cannot."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel
from shared.models.engines.engine import Engine
from shared.models.manifest import Export, Manifest
from shared.models.novelty import NoveltyCheck


class KerasNetwork:
    """A Keras model that takes raw pixels and returns one logit, traced once for every batch size."""

    novelty: NoveltyCheck | None = None

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
                f"{path} maps {model.input_shape} to {model.output_shape}, the manifest says {shape} to (None, 1)"
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


def _load(folder: Path, manifest: Manifest, export: Export) -> KerasNetwork:
    return KerasNetwork(folder / export.file, manifest)


ENGINE = Engine(
    name="keras",
    title="TensorFlow",
    file="network.keras",
    load=_load,
    package="tensorflow",
    setting="tensorflow",
    rank_on_cpu=1,
    rank_on_gpu=0,
)
