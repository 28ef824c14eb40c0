"""`transfer:NAME`: any backbone of keras.applications, in any spelling of its name."""

import logging
import re
from pathlib import Path
from typing import Any

from shared.base.errors import WrongSettings
from shared.imaging import Preprocessing
from trainer import augmentation
from trainer.architectures.architecture import Architecture, Shape, Weights
from trainer.architectures.layers import logit
from trainer.recipes import Recipe, pretrained

BACKBONE_SIZES = {"inceptionv3": 299, "inceptionresnetv2": 299, "xception": 299, "nasnetlarge": 331}
"""Width and height that a backbone was made for where it is not 224."""
_RESCALING: dict[str, tuple[Any, Any]] = {
    "tf": (1 / 127.5, -1.0),
    "torch": ([1 / 58.395, 1 / 57.12, 1 / 57.375], [-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375]),
    "caffe": (1.0, [-103.939, -116.779, -123.68]),  # blue first there; of grey pixels all channels are alike
}
_MODES = {"vgg": "caffe", "densenet": "torch", "mobilenetv3": "", "efficientnet": "", "convnext": "", "": "tf"}
"""How a backbone's `preprocess_input` rescales, by prefix of its name; empty where the backbone does it itself."""

_log = logging.getLogger(__name__)


def _preprocessing(detail: str) -> Preprocessing:
    backbone = _simple(detail)
    if not backbone:
        raise WrongSettings("transfer: needs the name of a backbone, as transfer:MobileNetV2")
    size = BACKBONE_SIZES.get(backbone, 224)
    return Preprocessing(width=size, height=size, channels=3)


def _build(shape: Shape, detail: str, weights: Weights) -> Any:
    """A backbone without its top, averaged over the image, dropout, one logit."""
    import keras

    backbone = _simple(detail)
    makers = {name.lower(): maker for name, maker in vars(keras.applications).items() if name[0].isupper()}
    if backbone not in makers:
        raise WrongSettings(f"keras.applications has no {detail!r}: choose one of {', '.join(sorted(makers))}")
    pixels = keras.Input(shape, name="pixels")
    mode = "caffe" if re.fullmatch(r"resnet\d+", backbone) else _mode(backbone)
    x = pixels
    if mode:
        scale, offset = _RESCALING[mode]
        x = keras.layers.Rescaling(scale, offset=offset)(x)
    network = _backbone(makers[backbone], shape, weights)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # with ImageNet's 0.99 and more the averages would need thousands of steps to follow
    x = keras.layers.GlobalAveragePooling2D()(network(x))
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(pixels, logit(x), name=backbone)


def _backbone(maker: Any, shape: Shape, weights: Weights) -> Any:
    if isinstance(weights, Path):
        try:
            return maker(include_top=False, input_shape=shape, weights=str(weights))
        except (OSError, ValueError) as error:
            raise WrongSettings(f"{weights} does not hold the weights of {maker.__name__}: {error}") from error
    if weights == "imagenet":
        try:
            return maker(include_top=False, input_shape=shape, weights="imagenet")
        except Exception as error:  # noqa: BLE001 - what Keras raises where a download fails
            _log.warning("%s starts from random weights: ImageNet's could not be fetched: %s", maker.__name__, error)
    return maker(include_top=False, input_shape=shape, weights=None)


def _mode(backbone: str) -> str:
    return next(mode for beginning, mode in _MODES.items() if backbone.startswith(beginning))


def _simple(backbone: str) -> str:
    return re.sub(r"[^a-z0-9]", "", backbone.lower())


def _recipe(detail: str) -> Recipe:
    return pretrained(change=augmentation.augment, epochs=12, learning_rate=3e-4, weight_decay=5e-3)


def _file_name(detail: str) -> str:
    return f"transfer-{_simple(detail)}"


ARCHITECTURE = Architecture("transfer:NAME", _preprocessing, _build, _recipe, _file_name)
