"""How each architecture is fitted: what is published about it, and what was chosen here where nothing is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.base.errors import WrongSettings
from trainer import architectures, augmentation


@dataclass(frozen=True)
class Recipe:
    """One way of fitting a network.

    change: what is done to a batch of pixels, float32, 0 to 255, before the network sees it.
    Patience counts epochs in which the loss on the patients held out became no better.
    """

    change: Callable[[Any], Any] | None = None
    batch: int = 32
    epochs: int = 20
    optimizer: Literal["adam", "adamw", "rmsprop"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    clip: float | None = None  # of the gradient's norm
    is_cosine: bool = False  # the rate warms up over a twentieth of the steps, then falls to zero in a cosine
    loss: Literal["binary_crossentropy"] = "binary_crossentropy"  # that of a softmax over two classes is the same
    label_smoothing: float = 0.0
    is_balanced: bool = True  # both classes have the same say, however many images they have
    keeps_best: bool = False  # the weights of the best epoch, else those of the last
    stop_patience: int | None = None
    reduce_patience: int | None = None
    reduce_factor: float = 0.3


PRETRAINED = Recipe(optimizer="adamw", clip=1.0, is_cosine=True, label_smoothing=0.05)
"""What those share that start from weights fitted to photographs."""


def recipe(architecture: str) -> Recipe:
    """The recipe for an architecture; raises WrongSettings for a name that is not known."""
    architectures.preprocessing(architecture)
    match architecture.partition(":")[0]:
        case "screen":
            change = augmentation.augment_equalized
            return replace(PRETRAINED, change=change, epochs=14, learning_rate=6e-4, weight_decay=2e-2)
        case "tiny7":  # published: its layers and its accuracy
            return Recipe(change=augmentation.turn, epochs=40, keeps_best=True, reduce_patience=4, stop_patience=10)
        case "variants":  # published: batch, epochs, Adam or RMSprop, loss
            chosen = architectures.variant(architecture)
            return Recipe(batch=32, epochs=12, optimizer=chosen.optimizer)
        case "blocks5":  # published: the best checkpoint and early stopping
            return Recipe(change=augmentation.turn, epochs=30, keeps_best=True, stop_patience=6)
        case "grey150":  # published: its layers and its figures
            return Recipe(change=augmentation.turn, epochs=20, keeps_best=True, reduce_patience=3)
        case "rgb224":  # published: the augmentation, early stopping, reduction of the learning rate
            return Recipe(change=augmentation.turn, epochs=25, keeps_best=True, stop_patience=6, reduce_patience=3)
        case "transfer":
            change = augmentation.augment
            return replace(PRETRAINED, change=change, epochs=12, learning_rate=3e-4, weight_decay=5e-3)
        case kind:
            raise WrongSettings(f"there is no recipe for {kind!r}")
