"""Whether the evidence map of an image may be seen, by a reader or in a capture, and why not."""

from functools import lru_cache
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from queries.reading import ReadingImage
from shared.base.errors import BrokenModel
from shared.base.settings import Settings
from shared.database import ModelVersion, Prediction
from shared.models import manifest
from shared.models.evidence import Map, is_measured, unpack
from shared.models.published import Published


def refusal(settings: Settings, image: ReadingImage, version: Published | None) -> str | None:
    """A sentence, or None where the map may be seen. Whether the network has one, the picture process knows."""
    if image.is_blind:
        return "The map comes after your word."
    if image.answer is None:
        return "Of this image, the model's answer is not shown."
    return _distrust(settings, image.answer.is_unfamiliar, version)


def of_result(
    session: Session, settings: Settings, sha256: str, model_version: str, *, is_unfamiliar: bool
) -> Map | str:
    """The map, shape (rows, columns), that was kept with a version's result of a content; or why there is none."""
    row = session.get(ModelVersion, model_version)
    version = None if row is None else Published(row.version, row.manifest_sha256)
    distrust = _distrust(settings, is_unfamiliar, version)
    if distrust is not None:
        return distrust
    of_it = (Prediction.sha256 == sha256, Prediction.model_version == model_version)
    newest = select(Prediction.evidence).where(*of_it).order_by(Prediction.decoder_revision.desc()).limit(1)
    kept = session.scalar(newest)
    return "No map: none was kept with this result." if kept is None else unpack(kept)


def _distrust(settings: Settings, is_unfamiliar: bool | None, version: Published | None) -> str | None:
    """Why the version's map of an image says too little to be shown; None where it may be."""
    if is_unfamiliar:
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
    return is_measured(described)
