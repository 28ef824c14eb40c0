"""Converts a network for LiteRT, which is faster on CPUs, and compares its logits with TensorFlow's."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Preprocessing
from shared.models.engines import MAX_DIFFERENCE, reference_pixels
from shared.models.engines.keras import traced, with_evidence
from shared.models.engines.litert import ENGINE, LiteRTNetwork
from shared.models.manifest import Export, Manifest
from trainer import fit

MAX_IMAGES = 256
"""Held-out X-rays on which the two engines are compared."""


@dataclass(frozen=True)
class Converted:
    """A network for LiteRT, and the manifest's entry for it."""

    data: bytes
    export: Export

    def write(self, folder: Path, _manifest: Manifest) -> None:
        """Write the network into a version's folder: a step of a publication."""
        (folder / self.export.file).write_bytes(self.data)


def convert(model: Any, size: Preprocessing, pixels: NDArray[np.uint8]) -> Converted | str:
    """Convert a Keras model and compare it on held-out pixels of shape (n, height, width, channels); n is not 0.

    Returns the reason where there is no conversion: with plain convolutions LiteRT is no faster.
    """
    if not _is_separable(model):
        return "its convolutions are plain ones, for which LiteRT is no faster than TensorFlow"
    try:
        data = convert_exactly(with_evidence(model) or model, size)
        compared = pixels[:MAX_IMAGES]
        logits, reference = LiteRTNetwork(data, size).logits(compared), fit.logits(model, compared)
    except Exception as error:  # noqa: BLE001 - the converter raises whatever a layer leads it to
        return f"LiteRT cannot run it: {type(error).__name__}: {' '.join(str(error).split())}"[:200]
    difference = float(np.abs(logits - reference).max())
    if not difference <= MAX_DIFFERENCE:
        return f"LiteRT's logits differ from TensorFlow's by up to {difference:.2g}"
    export = Export(
        engine=ENGINE.name,
        file=ENGINE.file,
        images=len(logits),
        largest_difference=difference,
        reference_logits=tuple(float(logit) for logit in fit.logits(model, reference_pixels(size))),
    )
    return Converted(data, export)


def _is_separable(model: Any) -> bool:
    import keras

    separable = (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    return any(isinstance(layer, separable) for layer in _layers(model))


def _layers(model: Any) -> Iterator[Any]:
    """A model's layers, including those of nested models."""
    for layer in model.layers:
        yield layer
        yield from _layers(layer) if hasattr(layer, "layers") else ()


def convert_exactly(model: Any, size: Preprocessing) -> bytes:
    """Convert these outputs and no others, for a batch of one: each thread of a worker takes one image at a time."""
    import tensorflow as tf

    call = traced(model, (1, size.height, size.width, size.channels))
    logging.getLogger("absl").setLevel(logging.ERROR)
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()]).convert())
