"""Has a version score the images of a draw that it has not seen: its logits are stored, and no result changes."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.base.decoder import DECODER_REVISION
from shared.base.errors import ImageError, Unreadable
from shared.base.settings import Settings
from shared.database import Database, DrawMember, Prediction, Sighting
from shared.imaging import Limits, is_dicom, prepare
from shared.imaging.identifiers import read_identifiers
from shared.imaging.notes import Notes
from shared.ledger import retention
from shared.ledger.register import as_path, insert_new, parts
from shared.models import registry
from shared.models.registry import Loaded
from shared.sources import Source

CHANGED = "its file holds another image by now"
ELSEWHERE = "its source is not configured on this host"


@dataclass
class Rescored:
    """What became of a draw's images."""

    scored: int = 0
    known: int = 0
    """The version had scored them before."""
    left_out: Counter[str] = field(default_factory=Counter)
    """How many could not be scored, by reason."""


@dataclass(frozen=True)
class _Picture:
    sha256: str
    pixels: NDArray[np.uint8]
    decoded_with: str | None
    age_years: float | None


def rescore(
    database: Database,
    settings: Settings,
    sources: Mapping[str, Source],
    draw: int,
    version: str,
    now: datetime,
    advance: Callable[[int], object] = lambda _count: None,
) -> Rescored:
    """Score what can still be read of a draw, from whichever sighting of the content holds it; safe to repeat.

    Raises BrokenModel for a version that cannot be loaded.
    """
    with database.read() as session:
        row = registry.published(session, version)
        contents = session.scalars(
            select(DrawMember.sha256).where(DrawMember.draw_id == draw).order_by(DrawMember.number)
        ).all()
        known = _known(session, contents, version)
        places = _places(session, [content for content in contents if content not in known])
    done = Rescored(known=len(known))
    advance(len(known))
    if len(known) == len(contents):
        return done
    loaded = registry.load(settings.models, row, settings.signing_key, settings.engine)
    pictures = _read(settings, sources, loaded, places, done, advance)
    while batch := list(islice(pictures, settings.batch_size)):
        rows = _predict(loaded, batch, now)
        with database.write() as session:
            still_there = retention.hold_contents(session, {str(row["sha256"]) for row in rows})
            rows = [row for row in rows if row["sha256"] in still_there]
            if rows:
                session.connection().execute(insert_new(session, Prediction.__table__), rows)
        done.scored += len(rows)
    return done


def _known(session: Session, contents: Sequence[str], version: str) -> set[str]:
    known: set[str] = set()
    for part in parts(contents):
        has_logit = (Prediction.model_version == version) & Prediction.logit.is_not(None)
        known.update(session.scalars(select(Prediction.sha256).where(Prediction.sha256.in_(part), has_logit)))
    return known


def _places(session: Session, contents: Sequence[str]) -> dict[str, list[Sighting]]:
    """Where each content was seen, the newest first."""
    places: dict[str, list[Sighting]] = {content: [] for content in contents}
    for part in parts(contents):
        of_content = select(Sighting).where(Sighting.sha256.in_(part)).order_by(Sighting.id.desc())
        for sighting in session.scalars(of_content):
            places[str(sighting.sha256)].append(sighting)
    return places


def _read(
    settings: Settings,
    sources: Mapping[str, Source],
    loaded: Loaded,
    places: dict[str, list[Sighting]],
    done: Rescored,
    advance: Callable[[int], object],
) -> Iterator[_Picture]:
    limits = Limits.of(settings)
    for content, sightings in places.items():
        advance(1)
        try:
            data = _content(sources, content, sightings, limits)
            age = read_identifiers(data, None)[1] if is_dicom(data) else None
            notes = Notes()
            pixels = prepare(data, loaded.manifest.preprocessing, limits, notes)
        except ImageError as error:
            done.left_out[str(error)] += 1
        else:
            yield _Picture(content, pixels, notes.text, age)


def _content(sources: Mapping[str, Source], content: str, sightings: Sequence[Sighting], limits: Limits) -> bytes:
    """The bytes with this checksum, from the first place that still has them; raises ImageError where none has."""
    problem: ImageError = Unreadable("its rows were deleted")
    for sighting in sightings:
        source = sources.get(sighting.source)
        if source is None:
            problem = Unreadable(ELSEWHERE)
            continue
        try:
            data = source.read(as_path(sighting.path, sighting.path_bytes), sighting.revision, limits)
        except ImageError as error:
            problem = error
            continue
        if hashlib.sha256(data).hexdigest() == content:
            return data
        problem = Unreadable(CHANGED)
    raise problem


def _predict(loaded: Loaded, pictures: Sequence[_Picture], now: datetime) -> list[dict[str, object]]:
    """Rows of predictions, without those whose logit is not a number."""
    batch = np.stack([picture.pixels for picture in pictures])
    logits, check = loaded.network.logits(batch), loaded.network.novelty
    scores: list[float | None] = [None] * len(batch) if check is None else check.scores(batch).tolist()
    return [
        {
            "sha256": picture.sha256,
            "model_version": loaded.manifest.version,
            "decoder_revision": DECODER_REVISION,
            "decoded_with": picture.decoded_with,
            "logit": float(logit),
            "unfamiliar_score": score,
            "outside_population": loaded.manifest.is_outside_population(picture.age_years),
            "created_at": now,
        }
        for picture, logit, score in zip(pictures, logits, scores, strict=True)
        if np.isfinite(logit)
    ]
