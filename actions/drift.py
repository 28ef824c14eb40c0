"""Looks whether the images of a source still are what they were, when it is time to, and writes down what it saw.

Producers do it by themselves, a person with `pneumoscreen drift`. Any number of them may: a look is known by its last
image, and all of them see the same.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from queries import drift_images
from queries.drift import WEEK, current_reference, newest_check, newest_reference, promoted_at, sentences
from queries.drift_images import Image
from shared.base.errors import BrokenModel, InvalidRequest
from shared.database import Database, DriftCheck, DriftReference, audit
from shared.ledger.register import insert_new
from shared.ledger.source_states import last_images
from shared.models import manifest, published
from shared.models.published import Published
from shared.statistics import drift
from shared.statistics.drift import LEAST, MIN_SCORES, REFERENCE, STEP, WINDOW, Floats, Sample

MAX_NEW = 2000
"""Of more new images, only the newest are looked at: a look must not hold a producer up."""
BY_ITSELF = "installation"


def look_at_sources(database: Database, models: Path, now: datetime, *, is_asked: bool = False) -> int:
    """Look at each source where it is due, or if somebody asks, where anything is new; returns the number of looks.

    `models` is where versions lie; their manifests may keep scores of their own held-out images.
    """
    with database.read() as session:
        live = published.live(session)
        if not live:
            return 0
        version = live[0].version
        due = [source for source in last_images(session) if _is_due(session, source, version, now, is_asked=is_asked)]
    held_out = _held_out(models, live[0]) if due else None
    looks = 0
    for source in due:
        with database.write() as session:
            looks += _Looking(session, source, version, held_out, now, is_asked=is_asked).look()
    return looks


def _held_out(models: Path, version: Published) -> Floats | None:
    """Quantiles of the logits of the version's held-out images; None where the manifest has none or cannot be read."""
    try:
        described = manifest.read(models / version.version, version.manifest_sha256)
    except BrokenModel:
        return None
    logits = described.metrics.get("validation", {}).get("reference", {}).get("logits")
    return np.array(logits, dtype=np.float64) if logits else None


def begin_anew(database: Database, source: str, actor: str, reason: str, now: datetime) -> str:
    """Compare a source from now on with the images that come next; returns the live version, for which this holds.

    Raises InvalidRequest for a source of which no image ever came, or where no version is live.
    """
    with database.write() as session:
        live = published.live(session)
        if not live or source not in last_images(session):
            known = ", ".join(sorted(last_images(session))) or "none yet"
            raise InvalidRequest(f"No version is live, or no image ever came from a source {source!r}. Known: {known}.")
        version, last = live[0].version, drift_images.last(session, source)
        _insert_reference(session, source, version, last + 1, now, actor, reason)
        reference = newest_reference(session, source, version)
        assert reference is not None
        # Where nothing came since the version went live, the row was there.
        reference.created_by, reference.reason = actor, reason
        reference.created_at = max(now, promoted_at(session, version))
        reference.sample = reference.images = reference.since = reference.until = None
        detail = f"source {source}, {version}: compared with what comes after sighting {last}: {reason}"
        audit.record(session, actor, "accept drift", detail, at=now)
    return version


def _is_due(session: Session, source: str, version: str, now: datetime, *, is_asked: bool) -> bool:
    reference = current_reference(session, source, version)
    if reference is None:
        return True
    check = newest_check(session, reference)
    after = check.last_sighting_id if check else reference.first_sighting_id - 1
    wanted = 1 if is_asked or _is_weekly(check, now) else STEP if check else LEAST
    return drift_images.count_after(session, source, after, wanted) >= wanted


def _is_weekly(check: DriftCheck | None, now: datetime) -> bool:
    return check is not None and now - check.created_at >= WEEK


class _Looking:
    """One look at one source, or several where many images came since the last."""

    def __init__(
        self, session: Session, source: str, version: str, held_out: Floats | None, now: datetime, *, is_asked: bool
    ) -> None:
        self._session, self._source, self._version = session, source, version
        self._held_out, self._now = held_out, now
        self._reference = current_reference(session, source, version) or _begin(session, source, version, now)
        self._check = newest_check(session, self._reference)
        self._is_wanted = is_asked or _is_weekly(self._check, now)

    def look(self) -> int:
        """Returns how many looks there were."""
        looks, reference = 0, self._reference
        where = (self._session, self._source, self._version, reference.first_sighting_id)
        if reference.sample is None:
            images = drift_images.first(*where, REFERENCE + WINDOW)
            for end in self._ends(images):
                start = end - drift.window_size(end)
                self.compare(drift_images.sample(images[:start]), images[start:end], images[0].seen_at)
                looks += 1
            if len(images) < REFERENCE + WINDOW:
                return looks
            self._complete(images[:REFERENCE])
        assert reference.sample is not None
        assert reference.until is not None
        before = Sample.from_json(reference.sample)
        after = self._check.last_sighting_id if self._check else reference.first_sighting_id
        scanned = drift_images.count_after(self._session, self._source, after, MAX_NEW) + WINDOW
        images = drift_images.newest(*where, scanned)
        for end in self._ends(images):
            self.compare(before, images[max(0, end - WINDOW) : end], reference.until)
            looks += 1
        return looks

    def _ends(self, images: Sequence[Image]) -> list[int]:
        """After how many of these images there is a look: each STEP of new ones, and the last if it is wanted.

        With fewer than LEAST images in all there is none.
        """
        after = self._check.last_sighting_id if self._check else 0
        old = sum(image.sighting <= after for image in images)
        ends = list(range(old + STEP, len(images) + 1, STEP))
        if self._is_wanted and len(images) > (ends[-1] if ends else old):
            ends.append(len(images))
        return [end for end in ends if end >= LEAST]

    def compare(self, before: Sample, images: Sequence[Image], began_at: datetime) -> None:
        """Compare a window with the reference and write it down."""
        since, until = images[0].seen_at, images[-1].seen_at
        sample, line = drift_images.sample(images), drift_images.line(images)
        if line is not None:
            before, sample = drift.count_positives(before, line), drift.count_positives(sample, line)
        level = drift.spend(self._check.until if self._check else began_at, until)
        compared = drift.compare(before, sample, level)
        held_out = self._held_out if len(sample.logits) >= MIN_SCORES else None
        row = {
            "source": self._source,
            "model_version": self._version,
            "last_sighting_id": images[-1].sighting,
            "since": since,
            "until": until,
            "images": len(images),
            "reference_images": before.images,
            "without_logit": sample.without_logit,
            "reference_without_logit": before.without_logit,
            "level": level,
            "psi": compared.scores.psi if compared.scores else None,
            "p_value": compared.scores.p_value if compared.scores else None,
            "novelty_psi": compared.novelty.psi if compared.novelty else None,
            "novelty_p_value": compared.novelty.p_value if compared.novelty else None,
            "version_psi": None if held_out is None else drift.psi(held_out, sample.logits),
            "shares": json.dumps({kind: asdict(share) for kind, share in compared.shares.items()}),
            "alarms": json.dumps(sentences(compared)),
            "created_at": self._now,
        }
        self._session.execute(insert_new(self._session, DriftCheck).values(row))
        self._check = newest_check(self._session, self._reference)

    def _complete(self, images: Sequence[Image]) -> None:
        """Store what the reference's images were: their rows may be deleted one day."""
        self._reference.sample = drift_images.sample(images).as_json()
        self._reference.images = len(images)
        self._reference.since, self._reference.until = images[0].seen_at, images[-1].seen_at
        self._session.flush()


def _begin(session: Session, source: str, version: str, now: datetime) -> DriftReference:
    """The reference begins with the first image that came since the version went live.

    A version that comes back is compared with what its reference was, if that was complete. Its windows begin anew:
    quarantined images of the time between have no version, and would stand beside few that it answered.
    """
    before = newest_reference(session, source, version)
    live_since = promoted_at(session, version)
    first = drift_images.first_since(session, live_since)
    actor, reason = (before.created_by, before.reason) if before and before.sample else (BY_ITSELF, None)
    _insert_reference(session, source, version, first, now, actor, reason)
    reference = newest_reference(session, source, version)
    assert reference is not None
    # Also where nothing came since the last time, so that the row was there, and where this host's clock is behind.
    reference.created_at = max(now, live_since)
    if before is not None and before.sample is not None:
        reference.sample, reference.images = before.sample, before.images
        reference.since, reference.until = before.since, before.until
    session.flush()
    return reference


def _insert_reference(
    session: Session, source: str, version: str, first: int, now: datetime, actor: str, reason: str | None
) -> None:
    row = {"source": source, "model_version": version, "first_sighting_id": first}
    row |= {"created_by": actor, "reason": reason, "created_at": now}
    session.execute(insert_new(session, DriftReference).values(row))
