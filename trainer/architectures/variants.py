"""`variants`: a published family; what a name leaves out has the values of `Variant`."""

import re
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, Literal

from shared.base.errors import WrongSettings
from shared.imaging import Preprocessing
from trainer.architectures.architecture import Architecture, Shape, Weights
from trainer.architectures.layers import logit
from trainer.recipes import Recipe

_VALUES = {"depth": r"\d", "width": r"\d{1,4}", "dropout": r"0?\.\d+|0", "optimizer": "adam|rmsprop"}


@dataclass(frozen=True)
class Variant:
    """One member: how many convolutions, how wide the dense layer, how much dropout before it."""

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


def variant(name: str) -> Variant:
    """The member that a name like `variants:depth=3,width=128,dropout=0.5` means."""
    values: dict[str, Any] = {}
    for part in filter(None, name.partition(":")[2].split(",")):
        key, _, value = part.partition("=")
        if not re.fullmatch(_VALUES.get(key, "(?!)"), value):
            raise WrongSettings(f"{name!r} says {part!r}: write {Variant().name()}, or part of it")
        values[key] = {"dropout": float, "optimizer": str}.get(key, int)(value)
    chosen = Variant(**values)
    if not (1 <= chosen.depth <= 6 and chosen.width):
        raise WrongSettings(f"{name!r}: depth must be 1 to 6 and width at least 1")
    return chosen


def _variant(detail: str) -> Variant:
    return variant(f"variants:{detail}")


def _preprocessing(detail: str) -> Preprocessing:
    _variant(detail)
    return Preprocessing(width=150, height=150)


def _build(shape: Shape, detail: str, weights: Weights) -> Any:
    """Convolutions of 32, 64, 128, 128 ... filters with pooling, one dense layer with dropout before it."""
    import keras

    chosen = _variant(detail)
    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    for step in range(chosen.depth):
        x = keras.layers.Conv2D(min(32 * 2**step, 128), 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(chosen.dropout)(x)
    x = keras.layers.Dense(chosen.width, activation="relu")(x)
    return keras.Model(pixels, logit(x), name="variants")


def _recipe(detail: str) -> Recipe:
    """Published: batch, epochs, Adam or RMSprop, loss."""
    return Recipe(batch=32, epochs=12, optimizer=_variant(detail).optimizer)


def _file_name(detail: str) -> str:
    if not detail:
        return "variants"
    chosen = _variant(detail)
    return f"variants-{chosen.depth}-{chosen.width}-{chosen.dropout}-{chosen.optimizer}"


ARCHITECTURE = Architecture("variants", _preprocessing, _build, _recipe, _file_name)
