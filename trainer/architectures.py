"""The networks that can be fitted, by name, and the pixels that each wants."""

from typing import Any

from shared.errors import WrongSettings
from shared.imaging import Preprocessing

NAMES = ("screen",)


def preprocessing(name: str) -> Preprocessing:
    """How the pixels of an architecture are made; raises WrongSettings for a name that is not known."""
    match name:
        case "screen":
            return Preprocessing(width=160, height=160, channels=1, contrast="equalize")
        case _:
            raise WrongSettings(f"there is no architecture named {name!r}: choose one of {', '.join(NAMES)}")


def build(name: str) -> Any:
    """An uncompiled Keras model with fresh weights.

    Input: grey pixels, float32, shape (n, height, width, channels) as `preprocessing` says, 0 to 255, black being 0.
    Output: float32, shape (n, 1), the logit of PNEUMONIA (no sigmoid).
    Raises WrongSettings for a name that is not known.
    """
    size = preprocessing(name)
    return _screen((size.height, size.width, size.channels))


def _screen(shape: tuple[int, int, int]) -> Any:
    """A small residual network (He et al., 2016): 3 x 3 convolutions, batch norm and ReLU, early strides."""
    import keras

    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = _convolve(x, 16, stride=2)
    for width in (32, 48, 96, 160):
        x = _convolve(x, width, stride=2)
        if width > 32:
            x = keras.layers.Add()([x, _convolve(x, width)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.3)(x)
    logit = keras.layers.Dense(1, name="logit")(x)
    return keras.Model(pixels, logit, name="screen")


def _convolve(x: Any, width: int, stride: int = 1) -> Any:
    import keras

    x = keras.layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.95)(x)
    return keras.layers.ReLU()(x)
