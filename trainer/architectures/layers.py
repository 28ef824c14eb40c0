"""Layers that several architectures end with."""

from typing import Any


def dense(x: Any, width: int, dropout: float) -> Any:
    """A dense layer with dropout after it."""
    import keras

    x = keras.layers.Dense(width, activation="relu")(x)
    return keras.layers.Dropout(dropout)(x)


def logit(x: Any) -> Any:
    """The last layer, in full precision also where the others are not."""
    import keras

    return keras.layers.Dense(1, dtype="float32", name="logit")(x)
