"""What moved the score of one image: its picture and the evidence map of the version that answered."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from sqlalchemy import select

from shared import sources
from shared.base.errors import ImageError, OutOfReach, WorkFailed
from shared.base.settings import Settings
from shared.database import Database, Prediction, Screening, Sighting
from shared.imaging import Limits, arrange, decode
from shared.ledger import lookup
from shared.ledger.latest import IS_RESULT
from shared.ledger.register import as_path
from shared.models import evidence, registry
from shared.models.evidence import Map

SIZE = (1024, 1024)
"""At most this large, the picture is decoded for looking at."""


@dataclass(frozen=True)
class Explanation:
    """`evidence`, shape (rows, columns), belongs to the version's answer; `is_stored`: it was kept with the result."""

    sighting: int
    version: str
    label: str
    probability: float
    threshold: float
    picture: Image.Image
    evidence: Map
    is_stored: bool

    @property
    def title(self) -> str:
        return (
            f"Image {self.sighting}: {self.label}, probability {self.probability:.3f} "
            f"(threshold {self.threshold:.3f}), {self.version}"
        )

    @property
    def rim_share(self) -> float | None:
        return evidence.rim_share(self.evidence)


def explain(settings: Settings, database: Database, name: str) -> Explanation:
    """The image that `name` means, as `results` shows it; its file is read again.

    Raises WorkFailed where there is no result, no file, or where the version has no evidence map.
    """
    with database.read() as session:
        number = lookup.image(session, name).id
        row = session.execute(
            select(Sighting, Prediction, Screening)
            .join(Screening, IS_RESULT)
            .join(Prediction, Prediction.id == Screening.prediction_id)
            .where(Sighting.id == number)
        ).one_or_none()
        if row is None:
            raise WorkFailed(f"Image {number} has no result yet: there is nothing to explain.")
        sighting, prediction, screening = row
        published = registry.published(session, prediction.model_version)
        stored, path = prediction.evidence, as_path(sighting.path, sighting.path_bytes)
        facts = (number, prediction.model_version, screening.label, screening.probability, screening.threshold)
        where = (sighting.source, sighting.revision)
    source = sources.build(settings).get(where[0])
    if source is None:
        raise WorkFailed(f"No source named {where[0]!r} is configured on this host: the picture cannot be read.")
    limits = Limits.of(settings)
    try:
        data = source.read(path, where[1], limits)
        picture = decode(data, SIZE, limits)
        if stored is not None:
            return Explanation(*facts, picture, evidence.unpack(stored), is_stored=True)
        loaded = registry.load(settings.models, published, settings.signing_key, settings.engine)
        size = loaded.manifest.preprocessing
        pixels = arrange(decode(data, (size.width, size.height), limits), size)
    except (ImageError, OutOfReach) as error:
        raise WorkFailed(f"The picture of image {number} cannot be read any more: {error}") from error
    _, maps = loaded.network.answers(pixels[np.newaxis])
    if maps is None:
        raise WorkFailed(
            f"{facts[1]} has no evidence map: only versions whose network ends in pooling and one dense unit have one, "
            'and those for LiteRT only if they were made with it. The setting engine = "tensorflow" may give it.'
        )
    return Explanation(*facts, picture, maps[0], is_stored=False)
