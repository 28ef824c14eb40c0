"""The same network for LiteRT, which is faster on CPUs; made and compared with TensorFlow when a version is made."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Preprocessing
from shared.models import engines, manifest
from shared.models.engines import MAX_DIFFERENCE
from shared.models.manifest import Manifest
from trainer import fit

FILE = "network.tflite"
MAX_IMAGES = 256
"""So many held-out X-rays tell whether two engines answer alike."""


@dataclass(frozen=True)
class Converted:
    """The bytes of FILE, and the manifest's field that speaks of it."""

    data: bytes
    field: manifest.Lite

    def write(self, folder: Path, _manifest: Manifest) -> None:
        """Write FILE into a version's folder: a step of a publication."""
        (folder / FILE).write_bytes(self.data)


def convert(model: Any, size: Preprocessing, pixels: NDArray[np.uint8]) -> Converted | str:
    """A Keras model for LiteRT, compared on held-out pixels of shape (n, height, width, channels); n is not 0.

    Returns why there is none, if that is so: of plain convolutions LiteRT is no faster.
    """
    if not _is_separable(model):
        return "its convolutions are plain ones, for which LiteRT is no faster than TensorFlow"
    try:
        data = _convert(model, size)
        compared = pixels[:MAX_IMAGES]
        found, wanted = engines.LiteNetwork(data, size).logits(compared), fit.logits(model, compared)
    except Exception as error:  # noqa: BLE001 - the converter raises whatever a layer leads it to
        return f"LiteRT cannot run it: {type(error).__name__}: {' '.join(str(error).split())}"[:200]
    difference = float(np.abs(found - wanted).max())
    if not difference <= MAX_DIFFERENCE:
        return f"LiteRT's logits differ from TensorFlow's by up to {difference:.2g}"
    trial = fit.logits(model, engines.trial_pixels(size))
    field = manifest.Lite(
        file=FILE, images=len(found), largest_difference=difference, trial=tuple(float(logit) for logit in trial)
    )
    return Converted(data, field)


def _is_separable(model: Any) -> bool:
    import keras

    separable = (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    return any(isinstance(layer, separable) for layer in _layers(model))


def _layers(model: Any) -> Iterator[Any]:
    """A model's layers, and those of the models within it."""
    for layer in model.layers:
        yield layer
        yield from _layers(layer) if hasattr(layer, "layers") else ()


def _convert(model: Any, size: Preprocessing) -> bytes:
    """For a single image: the threads of a worker take one each."""
    import tensorflow as tf

    call = engines.traced(model, (1, size.height, size.width, size.channels))
    logging.getLogger("absl").setLevel(logging.ERROR)
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()]).convert())
