"""Published networks, each of one shape: what is published about them, and our choice where nothing is."""

from typing import Any

from shared.imaging import Preprocessing
from trainer import augmentation
from trainer.architectures.architecture import Shape, fixed
from trainer.architectures.layers import dense, logit
from trainer.recipes import Recipe


def _tiny7(shape: Shape) -> Any:
    """Seven convolutions, each with pooling and spatial dropout, down to 1 x 1; 77,633 parameters."""
    import keras

    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    for width in (16, 32, 32, 32, 32, 48, 48):
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.SpatialDropout2D(0.05)(x)
    x = keras.layers.Flatten()(x)
    x = dense(x, 128, 0.3)
    x = dense(x, 32, 0.2)
    return keras.Model(pixels, logit(x), name="tiny7")


def _blocks5(shape: Shape) -> Any:
    """Five blocks of two convolutions, separable (Chollet, 2017) after the first, and a dense head that narrows."""
    import keras

    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    for width in (16, 16):
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = keras.layers.MaxPooling2D()(x)
    for widths, dropout in (((32, 64), 0.0), ((64, 32), 0.0), ((128, 128), 0.2), ((256, 256), 0.2)):
        for width in widths:
            x = keras.layers.SeparableConv2D(width, 3, padding="same", activation="relu")(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.MaxPooling2D()(x)
        if dropout:
            x = keras.layers.Dropout(dropout)(x)
    x = keras.layers.Flatten()(x)
    for width, dropout in ((512, 0.7), (128, 0.5), (64, 0.3)):
        x = dense(x, width, dropout)
    return keras.Model(pixels, logit(x), name="blocks5")


def _grey150(shape: Shape) -> Any:
    """Four convolutions of 32, 64, 128, 128 filters, each pooled with padding, and one wide dense layer."""
    import keras

    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    for width in (32, 64, 128, 128):
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D(padding="same")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(0.2)(x)
    x = keras.layers.Dense(512, activation="relu")(x)
    return keras.Model(pixels, logit(x), name="grey150")


def _rgb224(shape: Shape) -> Any:
    """Two convolutions without padding and a dense layer; the softmax over two classes is given as one logit.

    The odds of a softmax over two are the exponential of the difference of its inputs, and that is a logit.
    """
    import keras

    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    for width in (32, 64):
        x = keras.layers.Conv2D(width, 3, activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = dense(x, 128, 0.5)
    classes = keras.layers.Dense(2, dtype="float32", name="classes")(x)
    logit = keras.layers.Subtract(dtype="float32", name="logit")([classes[:, 1:], classes[:, :1]])
    return keras.Model(pixels, logit, name="rgb224")


TINY7 = fixed(  # published: its layers and its accuracy
    "tiny7",
    Preprocessing(width=128, height=128),
    _tiny7,
    Recipe(change=augmentation.turn_only, epochs=40, keeps_best=True, reduce_patience=4, stop_patience=10),
)
BLOCKS5 = fixed(  # published: the best checkpoint and early stopping
    "blocks5",
    Preprocessing(width=150, height=150, channels=3),
    _blocks5,
    Recipe(change=augmentation.turn_only, epochs=30, keeps_best=True, stop_patience=6),
)
GREY150 = fixed(  # published: its layers and its figures
    "grey150",
    Preprocessing(width=150, height=150),
    _grey150,
    Recipe(change=augmentation.turn_only, epochs=20, keeps_best=True, reduce_patience=3),
)
RGB224 = fixed(  # published: the augmentation, early stopping, reduction of the learning rate
    "rgb224",
    Preprocessing(width=224, height=224, channels=3),
    _rgb224,
    Recipe(change=augmentation.turn_only, epochs=25, keeps_best=True, stop_patience=6, reduce_patience=3),
)
