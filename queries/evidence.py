"""Whether a reader may see the evidence map of an image, and why not."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from queries.reading import ReadingImage
from shared.base.errors import BrokenModel
from shared.base.settings import Settings
from shared.models import manifest
from shared.models.published import Published

MEASURED = "evidence"
"""Of a manifest's `metrics`: what was measured of the version's maps, by occlusion among others."""


def refusal(settings: Settings, image: ReadingImage, version: Published | None) -> str | None:
    """A sentence, or None where the map may be seen. Whether the network has one, the picture process knows."""
    if image.is_blind:
        return "The map comes after your word."
    if image.answer is None:
        return "Of this image, the model's answer is not shown."
    if image.answer.is_unfamiliar:
        return "No map: the picture is unlike what the model knows, so what moved the score means nothing."
    if version is None or not has_figures(settings, version):
        return "No map: this version's card does not say how far its map can be believed."
    return None


def has_figures(settings: Settings, version: Published) -> bool:
    return _has_figures(settings.models / version.version, version.manifest_sha256, settings.signing_key)


@lru_cache(maxsize=8)
def _has_figures(folder: Path, checksum: str, key: SecretStr | None) -> bool:
    try:
        described = manifest.read(folder, checksum, key)
    except BrokenModel:
        return False
    return MEASURED in described.metrics


def rim_share(values: NDArray[np.float32]) -> float | None:
    """Which share of the evidence, by its size and whatever its sign, lies in the border cells; None where all is 0."""
    sizes = np.abs(values)
    total = float(sizes.sum())
    if min(values.shape) < 3:
        return None
    return (total - float(sizes[1:-1, 1:-1].sum())) / total if total else None
