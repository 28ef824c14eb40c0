"""What the looks at each source's drift saw: its reference, the newest look, and what is out of the ordinary."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from queries import drift_images
from shared.database import DriftCheck, DriftReference, OperatingPoint, Promotion
from shared.ledger.source_states import last_images
from shared.models import published
from shared.statistics.drift import LEAST, NOVELTY, OUTSIDE, POSITIVE, QUARANTINED, SCORES, UNFAMILIAR, Comparison

DAY, WEEK = timedelta(days=1), timedelta(days=7)
"""After a WEEK there is a look, however few images came; a DAY after it was due, it does not come by itself."""
LARGE = 0.25
"""A population stability index from here on is a large change (Siddiqi, 2006)."""


@dataclass(frozen=True)
class Share:
    """Of how many images this was said, and of how many it was true: in the newest ones, and in the reference."""

    hits: int
    images: int
    reference_hits: int
    reference_images: int
    p_value: float

    @property
    def now(self) -> float:
        return self.hits / self.images

    @property
    def before(self) -> float:
        return self.reference_hits / self.reference_images


@dataclass(frozen=True)
class Look:
    """The newest images of a source beside its reference; times are those at which images came."""

    since: datetime
    until: datetime
    images: int
    reference_images: int
    without_logit: int  # of these images: results of older schemas, left out of scores and positives
    reference_without_logit: int
    level: float  # a p-value up to it is an alarm
    psi: float | None
    p_value: float | None
    novelty_psi: float | None
    novelty_p_value: float | None
    version_psi: float | None  # to the version's held-out images; None where its manifest keeps nothing of them
    shares: Mapping[str, Share]
    alarms: Mapping[str, str]  # by kind, a sentence each
    looked_at: datetime


@dataclass(frozen=True)
class SourceDrift:
    source: str
    version: str  # the live one
    look: Look | None  # None before there are enough images
    images: int  # since the reference began; counted no further than LEAST
    is_reference_complete: bool
    reference_since: datetime | None  # when the reference's first and last image came; None before it is complete
    reference_until: datetime | None
    accepted_by: str | None  # who had the reference begin anew, and why
    reason: str | None


def overview(session: Session, source: str | None = None) -> list[SourceDrift]:
    """Each source from which images came, or one of them, under the live version; empty where none is live."""
    live = published.live(session)
    names = sorted(name for name in last_images(session) if source in (None, name))
    return [_of_source(session, name, live[0].version) for name in names] if live else []


def _of_source(session: Session, source: str, version: str) -> SourceDrift:
    reference = current_reference(session, source, version)
    if reference is None:
        return SourceDrift(source, version, None, 0, is_reference_complete=False, **_nothing())
    check = newest_check(session, reference)
    return SourceDrift(
        source=source,
        version=version,
        look=_look(check) if check else None,
        images=drift_images.count_after(session, source, reference.first_sighting_id - 1, LEAST),
        is_reference_complete=reference.sample is not None,
        reference_since=reference.since,
        reference_until=reference.until,
        accepted_by=reference.created_by if reference.reason is not None else None,
        reason=reference.reason,
    )


def _nothing() -> dict[str, None]:
    return dict.fromkeys(("reference_since", "reference_until", "accepted_by", "reason"))


def _look(check: DriftCheck) -> Look:
    shares = {
        kind: Share(
            hits=share["now"]["hits"],
            images=share["now"]["images"],
            reference_hits=share["reference"]["hits"],
            reference_images=share["reference"]["images"],
            p_value=share["p_value"],
        )
        for kind, share in json.loads(check.shares).items()
    }
    return Look(
        since=check.since,
        until=check.until,
        images=check.images,
        reference_images=check.reference_images,
        without_logit=check.without_logit,
        reference_without_logit=check.reference_without_logit,
        level=check.level,
        psi=check.psi,
        p_value=check.p_value,
        novelty_psi=check.novelty_psi,
        novelty_p_value=check.novelty_p_value,
        version_psi=check.version_psi,
        shares=shares,
        alarms=json.loads(check.alarms),
        looked_at=check.created_at,
    )


def current_reference(session: Session, source: str, version: str) -> DriftReference | None:
    """None before there is one since the version went live for the last time: no look is older than that."""
    reference = newest_reference(session, source, version)
    return reference if reference is not None and reference.created_at >= promoted_at(session, version) else None


def promoted_at(session: Session, version: str) -> datetime:
    """When a version that is live, or was, went live for the last time."""
    newest = select(Promotion.promoted_at).where(Promotion.version == version).order_by(Promotion.id.desc()).limit(1)
    return session.execute(newest).scalar_one()


def newest_reference(session: Session, source: str, version: str) -> DriftReference | None:
    mine = (DriftReference.source == source) & (DriftReference.model_version == version)
    return session.scalar(select(DriftReference).where(mine).order_by(DriftReference.first_sighting_id.desc()).limit(1))


def newest_check(session: Session, reference: DriftReference) -> DriftCheck | None:
    """The newest look at what came since the reference began."""
    mine = (DriftCheck.source == reference.source) & (DriftCheck.model_version == reference.model_version)
    is_later = DriftCheck.last_sighting_id >= reference.first_sighting_id
    return session.scalar(
        select(DriftCheck).where(mine, is_later).order_by(DriftCheck.last_sighting_id.desc()).limit(1)
    )


def needs(session: Session, source: str | None = None) -> Iterator[str]:
    """A sentence for each source, or for one of them, of which something is out of the ordinary."""
    for drift in overview(session, source):
        if drift.look is not None and drift.look.alarms:
            since = f"{drift.look.since:%Y-%m-%d %H:%M}"
            yield (
                f"the source {drift.source} has changed: of the {drift.look.images} images since {since} (UTC), "
                f"{'; '.join(drift.look.alarms.values())}. Find out why before its results are trusted: "
                f"`pneumoscreen drift --source {drift.source}`"
            )


def hints(session: Session, source: str | None = None) -> Iterator[str]:
    """A sentence for each source without an operating point whose scores are unlike those of the held-out images."""
    for drift in overview(session, source):
        psi = drift.look.version_psi if drift.look is not None else None
        if psi is not None and psi >= LARGE and not _has_point(session, drift.source, drift.version):
            yield (
                f"the scores of the source {drift.source} are unlike those of the images on which {drift.version} was "
                f"measured (PSI {psi:.2f}): its recall is not proved there. `pneumoscreen calibrate draw --source "
                f"{drift.source}` begins a sample that says what it is"
            )


def overdue(session: Session, now: datetime, source: str | None = None) -> Iterator[str]:
    """A sentence for each source, or for one, that nobody has looked at for more than a week though images came."""
    live = published.live(session)
    names = sorted(name for name in last_images(session) if source in (None, name))
    for name in names if live else ():
        yield from _overdue(session, name, live[0].version, now)


def _overdue(session: Session, source: str, version: str, now: datetime) -> Iterator[str]:
    reference = current_reference(session, source, version)
    check = newest_check(session, reference) if reference else None
    if check is not None:
        since, after, number = check.created_at, check.last_sighting_id, 1
    else:
        since, number = promoted_at(session, version), LEAST
        after = (reference.first_sighting_id if reference else drift_images.first_since(session, since)) - 1
    due_at = drift_images.finished_after(session, source, after, number)
    if due_at is not None and now - due_at > DAY and now - (check.created_at if check else due_at) > WEEK + DAY:
        yield (
            f"nobody has looked since {since:%Y-%m-%d %H:%M} (UTC) whether the source {source} has changed, although "
            f"images came. Producers look at what {version} answered: is one there, and do the workers hold it? "
            f"`pneumoscreen drift --source {source}` looks at once"
        )


def _has_point(session: Session, source: str, version: str) -> bool:
    mine = (OperatingPoint.source == source) & (OperatingPoint.model_version == version)
    is_applied = OperatingPoint.applied_at.is_not(None) & OperatingPoint.retired_at.is_(None)
    return session.scalar(select(exists().where(mine, is_applied))) is True


def sentences(comparison: Comparison) -> dict[str, str]:
    """By kind, what is out of the ordinary."""
    return {kind: _sentence(kind, comparison) for kind in comparison.alarms}


def _sentence(kind: str, comparison: Comparison) -> str:
    if kind in (SCORES, NOVELTY):
        scores = comparison.scores if kind == SCORES else comparison.novelty
        assert scores is not None
        name = "the network's scores" if kind == SCORES else "the novelty scores"
        return f"{name} are spread differently (PSI {scores.psi:.2f})"
    share = comparison.shares[kind]
    what = {
        POSITIVE: "called PNEUMONIA",
        UNFAMILIAR: "unfamiliar",
        QUARANTINED: "quarantined",
        OUTSIDE: "outside the version's population",
    }[kind]
    now, before = share.now.share, share.reference.share
    assert now is not None
    assert before is not None
    return f"{_percent(now)} are {what} instead of {_percent(before)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"
