"""Draws a random sample of a source's screened images, to be read blind: what is fitted and proved rests on it."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import Select, insert, select
from sqlalchemy.orm import Session

from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Draw, DrawMember, Prediction, Screening, Sighting, SightingState, audit
from shared.ledger import reading_list, retention
from shared.ledger.latest import IS_RESULT, is_newest
from shared.models import published
from shared.statistics import strata

MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class Wanted:
    """What is to be drawn; `size` is None for as many as are expected to prove a recall of 0.95."""

    source: str
    seed: int
    size: int | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Drawn:
    """What was drawn. `expected_positives` goes by the version's own probabilities, which may be wrong at this site."""

    draw: int
    source: str
    model_version: str
    seed: int
    images: int
    population: int
    strata: int
    expected_positives: float
    positives_needed: int
    is_everything_needed: bool  # not even all images are expected to hold so many positives


@dataclass(frozen=True)
class _Population:
    sightings: list[int]
    contents: list[str]
    predictions: list[int]
    probabilities: strata.Floats
    logits: strata.Floats


def draw(session: Session, wanted: Wanted, actor: str, now: datetime) -> Drawn:
    """Draw from the results of the live version, each content once; images of earlier draws may be drawn again.

    A draw that left them out would be one of fewer images than the source has. Raises InvalidRequest for a size or a
    seed that makes no sense, WorkFailed where no version is live or nothing was screened by it.
    """
    if wanted.size is not None and wanted.size < 1:
        raise InvalidRequest(f"a draw has at least one image, not {wanted.size}")
    if not 0 <= wanted.seed <= MAX_SEED:
        raise InvalidRequest(f"a seed is a whole number from 0 to {MAX_SEED}, not {wanted.seed}")
    live = published.live(session)
    if not live:
        raise WorkFailed("no model version is live: `pneumoscreen db upgrade` installs the bundled one")
    version = live[0].version
    population = _gather(session, wanted, version)
    count = len(population.sightings)
    if not count:
        raise WorkFailed(
            f"the source {wanted.source!r} has no result of {version}, the live version: screen its images first, or "
            "`pneumoscreen rescreen` those of an earlier version"
        )
    needed = strata.positives_needed()
    parted = strata.stratify(
        population.probabilities, population.logits, min(strata.STRATA, wanted.size or strata.STRATA)
    )
    size = wanted.size or strata.size_for(parted, population.probabilities, needed)
    sizes = strata.allocate(parted, population.probabilities, size)
    sample = strata.draw(parted, sizes, wanted.seed)
    row = Draw(
        source=wanted.source,
        model_version=version,
        seed=wanted.seed,
        since=wanted.since,
        until=now,
        created_by=actor,
        created_at=now,
    )
    session.add(row)
    session.flush()
    members = _members(row.id, population, sample, parted)
    still_there = retention.hold_sightings(session, [int(member["sighting_id"]) for member in members])
    members = [member for member in members if member["sighting_id"] in still_there]
    if members:
        session.execute(insert(DrawMember), members)
        reading_list.refresh(session, {str(member["sha256"]) for member in members})
    images = len(members)
    detail = f"draw {row.id}: {images} of {count} images of {wanted.source}, {version}, seed {wanted.seed}"
    audit.record(session, actor, "draw", detail, at=now)
    expected = strata.expected_positives(parted, population.probabilities, sizes)
    return Drawn(
        draw=row.id,
        source=wanted.source,
        model_version=version,
        seed=wanted.seed,
        images=images,
        population=count,
        strata=len(sizes),
        expected_positives=expected,
        positives_needed=needed,
        is_everything_needed=float(population.probabilities.sum()) < needed,
    )


def _gather(session: Session, wanted: Wanted, version: str) -> _Population:
    """In the order of the contents, so that a seed draws the same however the rows are stored."""
    by_content = {row.sha256: row for row in session.execute(_results(wanted, version))}
    rows = [by_content[content] for content in sorted(by_content)]
    return _Population(
        sightings=[row.id for row in rows],
        contents=[str(row.sha256) for row in rows],
        predictions=[row.prediction_id for row in rows],
        probabilities=np.array([row.probability for row in rows], np.float64),
        logits=np.array([row.logit or 0.0 for row in rows], np.float64),
    )


def _results(wanted: Wanted, version: str) -> Select[int, str | None, int, float, float | None]:
    """The newest of copies comes last."""
    query = (
        select(Sighting.id, Sighting.sha256, Screening.prediction_id, Screening.probability, Prediction.logit)
        .join(Screening, IS_RESULT)
        .join(Prediction, Prediction.id == Screening.prediction_id)
        .where(Sighting.source == wanted.source, Sighting.state == SightingState.DONE, is_newest())
        .where(Prediction.model_version == version)
        .order_by(Sighting.id)
    )
    return query if wanted.since is None else query.where(Sighting.seen_at >= wanted.since)


def _members(
    draw: int, population: _Population, sample: strata.Sample, parted: strata.Numbers
) -> list[dict[str, int | str | float]]:
    return [
        {
            "draw_id": draw,
            "number": number,
            "sighting_id": population.sightings[index],
            "sha256": population.contents[index],
            "prediction_id": population.predictions[index],
            "stratum": int(parted[index]),
            "inclusion": inclusion,
        }
        for number, (index, inclusion) in enumerate(
            zip(sample.chosen.tolist(), sample.inclusion.tolist(), strict=True), start=1
        )
    ]
