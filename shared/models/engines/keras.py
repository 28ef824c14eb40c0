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

        extended = with_evidence(model)
        self.has_evidence = extended is not None
        self._call = traced(extended or model, shape)
        self.device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.answers(batch)[0]

    def answers(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        logits, *maps = (np.asarray(output, dtype=np.float32) for output in self._call(batch))
        return logits, maps[0] if maps else None


def with_evidence(model: Any) -> Any | None:
    """The model with its evidence map, shape (n, rows, columns), as a second output; None where there is no exact one.

    There is for a network that ends in global average pooling and one dense unit without activation, dropout between
    them or not: each cell's features, weighted as the dense layer weights their means. The mean of the map plus the
    dense layer's bias is the logit (class activation mapping: Zhou et al., CVPR 2016).
    """
    import keras

    last = model.outputs[0]._keras_history.operation
    if not isinstance(last, keras.layers.Dense) or last.units != 1 or last.activation is not keras.activations.linear:
        return None
    before = last.input._keras_history.operation
    while isinstance(before, keras.layers.Dropout):
        before = before.input._keras_history.operation
    if not isinstance(before, keras.layers.GlobalAveragePooling2D) or before.data_format != "channels_last":
        return None
    rows, columns, channels = before.input.shape[1:]
    weigh = keras.layers.Conv2D(1, 1, use_bias=False, dtype="float32")
    maps = keras.layers.Reshape((rows, columns))(weigh(before.input))
    weigh.set_weights([last.kernel.numpy().reshape(1, 1, channels, 1)])
    return keras.Model(model.inputs, [model.outputs[0], maps])


def traced(model: Any, shape: tuple[int | None, ...]) -> Any:
    """A TensorFlow function of pixels of that shape, dtype uint8.

    It returns a list: a logit of PNEUMONIA for each image, and the model's further outputs.

    As constants of the graph the weights let TensorFlow fold batch norm into the convolutions before it.
    """
    import tensorflow as tf

    fixed = [variable.numpy() for variable in model.trainable_variables]
    others = [variable.numpy() for variable in model.non_trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])  # without it each batch size traces again
    def call(batch):  # type: ignore[no-untyped-def]
        constants = [tf.constant(value) for value in fixed], [tf.constant(value) for value in others]
        outputs = model.stateless_call(*constants, tf.cast(batch, tf.float32), training=False)[0]
        logits, *more = outputs if isinstance(outputs, list) else [outputs]
        return [logits[:, 0], *more]

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
