"""`screen`: our own architecture, the default. It starts from weights fitted to ImageNet."""

from pathlib import Path
from typing import Any

import numpy as np

from shared.imaging import Preprocessing
from trainer import augmentation
from trainer.architectures.architecture import Shape, fixed
from trainer.architectures.layers import weigh_evidence
from trainer.recipes import pretrained

STAGES = ((16, 3, 1, 1, 1), (24, 3, 2, 6, 2), (40, 5, 2, 6, 2), (80, 3, 2, 6, 3), (112, 5, 1, 6, 3))
"""Width, kernel, stride of the first block, expansion and number of blocks of each stage."""
WEIGHTS = Path(__file__).parents[1] / "weights" / "efficientnet-lite0-stages5.npz"
"""What it starts from; `weights/ORIGIN.md` says where it comes from."""


def build(shape: Shape) -> Any:
    """The first five of seven stages of EfficientNet-Lite0 (Tan & Le, 2019): inverted residuals, batch norm, ReLU6.

    The stages left out hold four fifths of the parameters and are specific to photographs. The first convolution has
    one channel: for grey pixels the sum of its three kernels does the same as all three.
    """
    import keras

    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128)(pixels)
    x = _normalize(keras.layers.Conv2D(32, 3, 2, "same", use_bias=False)(x), relu=True)
    for width, kernel, stride, expansion, count in STAGES:
        x = _inverted(x, width, kernel, stride, expansion)
        for _ in range(count - 1):
            x = keras.layers.Add()([x, _inverted(x, width, kernel, 1, expansion)])
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        weights = [stored[str(number)].astype(np.float32) for number in range(len(stored.files))]
    keras.Model(pixels, x).set_weights(weights)
    return keras.Model(pixels, weigh_evidence(x, dropout=0.2), name="screen")


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


ARCHITECTURE = fixed(
    "screen",
    Preprocessing(width=128, height=128, channels=1, contrast="equalize"),
    build,
    pretrained(change=augmentation.attend_to_middle, epochs=60, learning_rate=6e-4, weight_decay=2e-2),
)
