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


def weigh_evidence(x: Any, dropout: float) -> Any:
    """From features, shape (n, rows, columns, channels), to a logit that is the mean of an evidence map and a bias.

    Each cell says how much speaks for PNEUMONIA and how much against it. Neither is below 0, so a cell without
    findings counts for exactly nothing. The outer ring of cells never counts: markers, electrodes and collimated
    corners lie there. What inner cells see of their surroundings is left to the augmentation (`recompose`).
    """
    import keras

    x = keras.layers.Cropping2D(1)(x)
    x = keras.layers.SpatialDropout2D(dropout)(x)
    both = [
        keras.layers.Conv2D(1, 1, activation="relu", bias_initializer="ones", dtype="float32", name=name)(x)
        for name in ("in_favour", "against")
    ]
    x = keras.layers.Subtract(dtype="float32", name="evidence")(both)
    x = keras.layers.ZeroPadding2D(1, dtype="float32")(x)
    return logit(keras.layers.GlobalAveragePooling2D(dtype="float32")(x))
