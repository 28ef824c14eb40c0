"""The networks that can be fitted, by name, and the pixels that each wants.

    screen                                    ours, the default; starts from what ImageNet taught it
    tiny7, blocks5, grey150, rgb224           published ones, each of one shape
    variants:depth=3,width=128,dropout=0.5,optimizer=adam
                                              a published family; what is left out has these values
    transfer:NAME                             any backbone of keras.applications, in any spelling of its name

The name says everything that the weights do not: two networks of one name fit the same weights.
"""

import logging
import re
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shared.base.errors import WrongSettings
from shared.imaging import Preprocessing

NAMES = ("screen", "tiny7", "variants", "blocks5", "grey150", "rgb224", "transfer:NAME")
LITE_STAGES = ((16, 3, 1, 1, 1), (24, 3, 2, 6, 2), (40, 5, 2, 6, 2), (80, 3, 2, 6, 3), (112, 5, 1, 6, 3))
"""Of `screen`: width, kernel, stride of the first block, expansion and number of blocks of each stage."""
LITE_WEIGHTS = Path(__file__).parent / "weights" / "efficientnet-lite0-stages5.npz"
"""What `screen` starts from; `weights/ORIGIN.md` says where it comes from."""
BACKBONE_SIZES = {"inceptionv3": 299, "inceptionresnetv2": 299, "xception": 299, "nasnetlarge": 331}
"""Width and height that a backbone was made for where it is not 224."""
_RESCALING: dict[str, tuple[Any, Any]] = {
    "tf": (1 / 127.5, -1.0),
    "torch": ([1 / 58.395, 1 / 57.12, 1 / 57.375], [-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375]),
    "caffe": (1.0, [-103.939, -116.779, -123.68]),  # blue first there; of grey pixels all channels are alike
}
_MODES = {"vgg": "caffe", "densenet": "torch", "mobilenetv3": "", "efficientnet": "", "convnext": "", "": "tf"}
"""How a backbone's `preprocess_input` rescales, by the beginning of its name; those that do it themselves have none."""
_VARIANT_VALUES = {"depth": r"\d", "width": r"\d{1,4}", "dropout": r"0?\.\d+|0", "optimizer": "adam|rmsprop"}

_log = logging.getLogger(__name__)
Weights = Path | Literal["imagenet"] | None


@dataclass(frozen=True)
class Variant:
    """One of the family `variants`: how many convolutions, how wide the dense layer, how much dropout before it."""

    depth: int = 3
    width: int = 128
    dropout: float = 0.5
    optimizer: Literal["adam", "rmsprop"] = "adam"

    def name(self) -> str:
        return "variants:" + ",".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))


FAMILY = (
    *(Variant(*values).name() for values in product((2, 3, 4), (64, 128), (0.3, 0.5))),
    Variant(optimizer="rmsprop").name(),
)
"""The members that are compared with each other."""


def preprocessing(name: str) -> Preprocessing:
    """How the pixels of an architecture are made; raises WrongSettings for a name that is not known."""
    kind, _, detail = name.partition(":")
    match kind, detail:
        case "screen", "":
            return Preprocessing(width=128, height=128, channels=1, contrast="equalize")
        case "tiny7", "":
            return Preprocessing(width=128, height=128)
        case "variants", _:
            variant(name)
            return Preprocessing(width=150, height=150)
        case "blocks5", "":
            return Preprocessing(width=150, height=150, channels=3)
        case "grey150", "":
            return Preprocessing(width=150, height=150)
        case "rgb224", "":
            return Preprocessing(width=224, height=224, channels=3)
        case "transfer", _ if _simple(detail):
            size = BACKBONE_SIZES.get(_simple(detail), 224)
            return Preprocessing(width=size, height=size, channels=3)
        case _:
            raise WrongSettings(f"there is no architecture named {name!r}: choose one of {', '.join(NAMES)}")


def build(name: str, weights: Weights = None) -> Any:
    """An uncompiled Keras model with fresh weights.

    Input: grey pixels, float32, shape (n, height, width, channels) as `preprocessing` says, 0 to 255, black being 0.
    Output: float32, shape (n, 1), the logit of PNEUMONIA (no sigmoid), whatever the published network ended with.
    `screen` starts from weights fitted to ImageNet, which lie in this package, every other network from random ones.
    `weights` concerns `transfer:` alone: a file with those of the backbone without its top, or "imagenet", which are
    fetched; where they cannot be, the backbone starts from random ones, with a warning.
    Raises WrongSettings for a name that is not known.
    """
    size = preprocessing(name)
    shape = (size.height, size.width, size.channels)
    match name.partition(":")[0]:
        case "screen":
            return _screen(shape)
        case "tiny7":
            return _tiny7(shape)
        case "variants":
            return _variant(shape, variant(name))
        case "blocks5":
            return _blocks5(shape)
        case "grey150":
            return _grey150(shape)
        case "rgb224":
            return _rgb224(shape)
        case _:
            return _transfer(shape, name.partition(":")[2], weights)


def file_name(name: str) -> str:
    """The name as files and model versions bear it: `variants-3-128-0.5-adam`, `transfer-mobilenetv2`."""
    kind, _, detail = name.partition(":")
    if kind == "variants" and detail:
        chosen = variant(name)
        return f"variants-{chosen.depth}-{chosen.width}-{chosen.dropout}-{chosen.optimizer}"
    return f"{kind}-{_simple(detail)}" if detail else kind


def variant(name: str) -> Variant:
    """The member of the family that a name like `variants:depth=3,width=128,dropout=0.5` means."""
    values: dict[str, Any] = {}
    for part in filter(None, name.partition(":")[2].split(",")):
        key, _, value = part.partition("=")
        if not re.fullmatch(_VARIANT_VALUES.get(key, "(?!)"), value):
            raise WrongSettings(f"{name!r} says {part!r}: write {Variant().name()}, or some of it")
        values[key] = {"dropout": float, "optimizer": str}.get(key, int)(value)
    found = Variant(**values)
    if not (1 <= found.depth <= 6 and found.width):
        raise WrongSettings(f"{name!r}: depth must be 1 to 6 and width at least 1")
    return found


def _screen(shape: tuple[int, int, int]) -> Any:
    """The first five of seven stages of EfficientNet-Lite0 (Tan & Le, 2019): inverted residuals, batch norm, ReLU6.

    The stages left out hold four fifths of the parameters and know what dogs look like. The first convolution has
    one channel: for grey pixels the sum of its three kernels does the same as all three.
    """
    import keras

    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128)(pixels)
    x = _normalize(keras.layers.Conv2D(32, 3, 2, "same", use_bias=False)(x), relu=True)
    for width, kernel, stride, expansion, count in LITE_STAGES:
        x = _inverted(x, width, kernel, stride, expansion)
        for _ in range(count - 1):
            x = keras.layers.Add()([x, _inverted(x, width, kernel, 1, expansion)])
    with np.load(LITE_WEIGHTS, allow_pickle=False) as stored:
        weights = [stored[str(number)].astype(np.float32) for number in range(len(stored.files))]
    keras.Model(pixels, x).set_weights(weights)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(pixels, _logit(x), name="screen")


def _inverted(x: Any, width: int, kernel: int, stride: int, expansion: int) -> Any:
    """An inverted residual block (Sandler et al., 2018) without its shortcut."""
    import keras

    if expansion > 1:
        x = _normalize(keras.layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False)(x), relu=True)
    x = _normalize(keras.layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False)(x), relu=True)
    return _normalize(keras.layers.Conv2D(width, 1, use_bias=False)(x), relu=False)


def _normalize(x: Any, relu: bool) -> Any:
    import keras

    x = keras.layers.BatchNormalization(momentum=0.95, epsilon=1e-3)(x)
    return keras.layers.ReLU(max_value=6.0)(x) if relu else x


def _tiny7(shape: tuple[int, int, int]) -> Any:
    """Seven convolutions, each with pooling and spatial dropout, down to 1 x 1; 77,633 parameters."""
    import keras

    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    for width in (16, 32, 32, 32, 32, 48, 48):
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.SpatialDropout2D(0.05)(x)
    x = keras.layers.Flatten()(x)
    x = _dense(x, 128, 0.3)
    x = _dense(x, 32, 0.2)
    return keras.Model(pixels, _logit(x), name="tiny7")


def _variant(shape: tuple[int, int, int], chosen: Variant) -> Any:
    """Convolutions of 32, 64, 128, 128 ... filters with pooling, one dense layer with dropout before it."""
    import keras

    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    for step in range(chosen.depth):
        x = keras.layers.Conv2D(min(32 * 2**step, 128), 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(chosen.dropout)(x)
    x = keras.layers.Dense(chosen.width, activation="relu")(x)
    return keras.Model(pixels, _logit(x), name="variants")


def _blocks5(shape: tuple[int, int, int]) -> Any:
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
        x = _dense(x, width, dropout)
    return keras.Model(pixels, _logit(x), name="blocks5")


def _grey150(shape: tuple[int, int, int]) -> Any:
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
    return keras.Model(pixels, _logit(x), name="grey150")


def _rgb224(shape: tuple[int, int, int]) -> Any:
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
    x = _dense(x, 128, 0.5)
    classes = keras.layers.Dense(2, dtype="float32", name="classes")(x)
    logit = keras.layers.Subtract(dtype="float32", name="logit")([classes[:, 1:], classes[:, :1]])
    return keras.Model(pixels, logit, name="rgb224")


def _transfer(shape: tuple[int, int, int], backbone: str, weights: Weights) -> Any:
    """A backbone without its top, averaged over the picture, dropout, one logit."""
    import keras

    found = _simple(backbone)
    makers = {name.lower(): maker for name, maker in vars(keras.applications).items() if name[0].isupper()}
    if found not in makers:
        raise WrongSettings(f"keras.applications has no {backbone!r}: choose one of {', '.join(sorted(makers))}")
    pixels = keras.Input(shape, name="pixels")
    mode = "caffe" if re.fullmatch(r"resnet\d+", found) else _mode(found)
    x = pixels
    if mode:
        scale, offset = _RESCALING[mode]
        x = keras.layers.Rescaling(scale, offset=offset)(x)
    network = _backbone(makers[found], shape, weights)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # with ImageNet's 0.99 and more the averages would need thousands of steps to follow
    x = keras.layers.GlobalAveragePooling2D()(network(x))
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(pixels, _logit(x), name=found)


def _backbone(maker: Any, shape: tuple[int, int, int], weights: Weights) -> Any:
    if isinstance(weights, Path):
        try:
            return maker(include_top=False, input_shape=shape, weights=str(weights))
        except (OSError, ValueError) as error:
            raise WrongSettings(f"{weights} does not hold the weights of {maker.__name__}: {error}") from error
    if weights == "imagenet":
        try:
            return maker(include_top=False, input_shape=shape, weights="imagenet")
        except Exception as error:  # noqa: BLE001 - what Keras raises where a download fails
            _log.warning("%s starts from random weights: those of ImageNet cannot be had: %s", maker.__name__, error)
    return maker(include_top=False, input_shape=shape, weights=None)


def _mode(backbone: str) -> str:
    return next(mode for beginning, mode in _MODES.items() if backbone.startswith(beginning))


def _dense(x: Any, width: int, dropout: float) -> Any:
    import keras

    x = keras.layers.Dense(width, activation="relu")(x)
    return keras.layers.Dropout(dropout)(x)


def _logit(x: Any) -> Any:
    """The last layer, in full precision also where the others are not."""
    import keras

    return keras.layers.Dense(1, dtype="float32", name="logit")(x)


def _simple(backbone: str) -> str:
    return re.sub(r"[^a-z0-9]", "", backbone.lower())
