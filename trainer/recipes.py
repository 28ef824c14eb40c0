"""How a network is fitted: optimizer, learning rate, patience and augmentation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple


class Examples(NamedTuple):
    """A batch to fit to.

    pixels: float32, shape (n, height, width, channels), 0 to 255; labels: float32, shape (n, 1), the probability of
    PNEUMONIA that the network should give, 0 to 1; weights: float32, shape (n, 1), how much each counts.
    """

    pixels: Any
    labels: Any
    weights: Any


Change = Callable[[Examples], Examples]
"""An augmentation of a batch."""


@dataclass(frozen=True)
class Recipe:
    """One way of fitting a network.

    change: the augmentation of a batch.
    Patience counts epochs in which the loss on the patients held out did not improve.
    """

    change: Change | None = None
    batch: int = 32
    epochs: int = 20
    optimizer: Literal["adam", "adamw", "rmsprop"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    clip: float | None = None  # of the gradient's norm
    is_cosine: bool = False  # the rate warms up over a twentieth of the steps, then falls to zero in a cosine
    label_smoothing: float = 0.0
    is_balanced: bool = True  # both classes weigh the same, however many images they have
    keeps_best: bool = False  # the weights of the best epoch, else those of the last
    stop_patience: int | None = None
    reduce_patience: int | None = None
    reduce_factor: float = 0.3


def pretrained(change: Change, epochs: int, learning_rate: float, weight_decay: float) -> Recipe:
    """A recipe for a network that starts from weights fitted to photographs."""
    return Recipe(
        change=change,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        optimizer="adamw",
        clip=1.0,
        is_cosine=True,
        label_smoothing=0.05,
    )
