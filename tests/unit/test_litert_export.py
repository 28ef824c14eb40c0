"""A network for LiteRT is made where it is faster, and compared with the one that was fitted."""

from typing import Any

import numpy as np
import pytest

from shared.imaging import Preprocessing
from shared.models.engines.litert import LiteRTNetwork
from trainer import litert_export

SIZE = Preprocessing(width=32, height=32)
PIXELS = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 1), dtype=np.uint8)


def network(convolution: str) -> Any:
    import keras

    keras.utils.set_random_seed(1)
    layer = getattr(keras.layers, convolution)
    inner = keras.Sequential([keras.Input((32, 32, 1)), layer(4, 3), keras.layers.BatchNormalization()])
    pooled = keras.layers.GlobalAveragePooling2D()(inner(inputs := keras.Input((32, 32, 1))))
    return keras.Model(inputs, keras.layers.Dense(1)(pooled))


def test_a_separable_network_is_converted_and_answers_as_before() -> None:
    made = litert_export.convert(network("SeparableConv2D"), SIZE, PIXELS)
    assert not isinstance(made, str), made
    assert made.export.images == 5
    assert (made.export.largest_difference or 0.0) < 1e-4
    assert len(made.export.reference_logits or ()) == 4


def test_plain_convolutions_are_left_to_tensorflow() -> None:
    found = litert_export.convert(network("Conv2D"), SIZE, PIXELS)
    assert isinstance(found, str)
    assert "no faster" in found


def test_a_conversion_that_fails_without_a_word_costs_litert_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(litert_export, "convert_exactly", fail)
    assert litert_export.convert(network("SeparableConv2D"), SIZE, PIXELS) == "LiteRT cannot run it: MemoryError: "


def test_a_network_whose_answers_differ_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiteRTNetwork, "logits", lambda *_: np.full(5, 7.0, np.float32))
    found = litert_export.convert(network("SeparableConv2D"), SIZE, PIXELS)
    assert isinstance(found, str)
    assert "differ" in found
