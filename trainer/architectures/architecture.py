"""What an architecture is: its name, the pixels that it takes, the network and how it is fitted."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shared.base.errors import WrongSettings
from shared.imaging import Preprocessing
from trainer.recipes import Recipe

Weights = Path | Literal["imagenet"] | None
"""Those a backbone starts from: a file, "imagenet" to fetch them, None for random ones."""
Shape = tuple[int, int, int]
"""Height, width and channels of the pixels."""


@dataclass(frozen=True)
class Architecture:
    """One architecture, or a family whose members are told apart by the detail behind the colon of their name.

    name: as people write it, `transfer:NAME` for a family that needs a detail. The functions take the detail, which
    is empty for an architecture of one shape, and raise WrongSettings for one that is not known.
    """

    name: str
    preprocessing: Callable[[str], Preprocessing]
    build: Callable[[Shape, str, Weights], Any]
    recipe: Callable[[str], Recipe]
    file_name: Callable[[str], str]

    @property
    def kind(self) -> str:
        """The part of the name before the colon."""
        return self.name.partition(":")[0]


def fixed(name: str, preprocessing: Preprocessing, build: Callable[[Shape], Any], recipe: Recipe) -> Architecture:
    """An architecture of one shape."""

    def check(detail: str) -> None:
        if detail:
            raise WrongSettings(f"{name}:{detail} is not an architecture: {name} has no variants")

    def find_preprocessing(detail: str) -> Preprocessing:
        check(detail)
        return preprocessing

    return Architecture(
        name,
        preprocessing=find_preprocessing,
        build=lambda shape, detail, weights: build(shape),
        recipe=lambda detail: recipe,
        file_name=lambda detail: name,
    )
