"""The networks that can be fitted, by name: one record each.

    screen                                    ours, the default; starts from weights fitted to ImageNet
    tiny7, blocks5, grey150, rgb224           published networks, each of one shape
    variants:depth=3,width=128,dropout=0.5,optimizer=adam
                                              a published family; what is left out has these values
    transfer:NAME                             any backbone of keras.applications, in any spelling of its name

The name says everything that the weights do not: two networks of one name fit the same weights.
To add an architecture, write its record and list it in `ARCHITECTURES`.
"""

from typing import Any

from shared.base.errors import WrongSettings
from shared.imaging import Preprocessing
from trainer.architectures import published, screen, transfer, variants
from trainer.architectures.architecture import Architecture, Weights
from trainer.architectures.variants import FAMILY, Variant, variant
from trainer.recipes import Recipe

ARCHITECTURES = {
    architecture.kind: architecture
    for architecture in (
        screen.ARCHITECTURE,
        published.TINY7,
        variants.ARCHITECTURE,
        published.BLOCKS5,
        published.GREY150,
        published.RGB224,
        transfer.ARCHITECTURE,
    )
}
NAMES = tuple(architecture.name for architecture in ARCHITECTURES.values())

__all__ = [
    "ARCHITECTURES",
    "FAMILY",
    "NAMES",
    "Architecture",
    "Variant",
    "Weights",
    "build",
    "file_name",
    "preprocessing",
    "recipe",
    "variant",
]


def preprocessing(name: str) -> Preprocessing:
    """How the pixels of an architecture are prepared; raises WrongSettings for a name that is not known."""
    architecture, detail = _find(name)
    return architecture.preprocessing(detail)


def build(name: str, weights: Weights = None) -> Any:
    """An uncompiled Keras model with fresh weights.

    Input: grey pixels, float32, shape (n, height, width, channels) as `preprocessing` says, 0 to 255, black being 0.
    Output: float32, shape (n, 1), the logit of PNEUMONIA (no sigmoid), whatever the published network ended with.
    `screen` starts from weights fitted to ImageNet, which lie in this package, every other network from random ones.
    `weights` concerns `transfer:` alone: a file with those of the backbone without its top, or "imagenet", which are
    fetched; where that fails, the backbone starts from random ones, with a warning.
    Raises WrongSettings for a name that is not known.
    """
    architecture, detail = _find(name)
    size = architecture.preprocessing(detail)
    return architecture.build((size.height, size.width, size.channels), detail, weights)


def recipe(name: str) -> Recipe:
    """How an architecture is fitted; raises WrongSettings for a name that is not known."""
    architecture, detail = _find(name)
    architecture.preprocessing(detail)
    return architecture.recipe(detail)


def file_name(name: str) -> str:
    """The name as files and model versions bear it: `variants-3-128-0.5-adam`, `transfer-mobilenetv2`."""
    architecture, detail = _find(name)
    return architecture.file_name(detail)


def _find(name: str) -> tuple[Architecture, str]:
    """The record, and the detail behind the colon."""
    kind, _, detail = name.partition(":")
    if kind not in ARCHITECTURES:
        raise WrongSettings(f"there is no architecture named {name!r}: choose one of {', '.join(NAMES)}")
    return ARCHITECTURES[kind], detail
