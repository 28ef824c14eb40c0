"""How well the running system does, by its audit samples: recall, specificity and misses, with intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.base.settings import Settings
from shared.database import OperatingPoint
from shared.ledger import words
from shared.ledger.words import AuditWord
from shared.models import published
from shared.statistics import weighted
from shared.statistics.weighted import UNKNOWN, Share

PROMISED_RECALL = 0.95
"""Of a source without an operating point of its own."""


@dataclass(frozen=True)
class Reading:
    """What became of the audit samples."""

    drawn: int
    read: int  # with a word that counts
    undecided: int  # read, but readers could not tell
    waiting: int  # unread, and younger than `audit_days`
    overdue: int  # unread for longer: non-response

    @property
    def non_response(self) -> float | None:
        """The share of those whose time is over that nobody has read."""
        due = self.drawn - self.waiting
        return self.overdue / due if due else None


@dataclass(frozen=True)
class Accuracy:
    """Of a source and a version, or of several of them (then these are None). Intervals have one-sided 95 % bounds."""

    source: str | None
    model_version: str | None
    since: datetime | None  # when the first sample was drawn
    until: datetime | None
    reading: Reading
    found: int  # positives that the system called PNEUMONIA
    missed: int
    recall: Share
    specificity: Share
    missed_share: Share  # of all images
    miss_weight: float = 1.0
    """How many times as much a missed positive weighs as one that was found."""
    promised_recall: float = PROMISED_RECALL

    @property
    def misses_per_1000(self) -> Share:
        share = self.missed_share
        value = None if share.value is None else 1000 * share.value
        return replace(share, value=value, low=1000 * share.low, high=1000 * share.high)

    @property
    def positives_needed(self) -> int:
        """So many positives prove the promise, if none is missed."""
        return weighted.positives_needed(self.promised_recall, max(1.0, self.miss_weight))

    @property
    def is_below_promise(self) -> bool:
        """The estimate is, or the bound is though there were positives enough to prove the promise."""
        if self.recall.value is None:
            return False
        is_enough = self.found + self.missed >= self.positives_needed
        return self.recall.value < self.promised_recall or (is_enough and self.recall.low < self.promised_recall)


def overall(
    session: Session, settings: Settings, source: str | None, since: datetime | None, now: datetime
) -> tuple[Accuracy, list[Accuracy]]:
    """Over everything that was asked for, and for each source and version, by name."""
    samples = words.words_of_audit(session, source, since, None)
    return of_samples(samples, settings, now), by_source(samples, settings, now)


def by_source(samples: Iterable[AuditWord], settings: Settings, now: datetime) -> list[Accuracy]:
    parts: dict[tuple[str, str], list[AuditWord]] = {}
    for sample in samples:
        parts.setdefault((sample.source, sample.model_version or ""), []).append(sample)
    return [of_samples(part, settings, now, *key) for key, part in sorted(parts.items())]


def in_service(session: Session, settings: Settings, now: datetime) -> list[Accuracy]:
    """Of each source by the live version, since its operating point was applied, with the recall that was promised."""
    live = published.live(session)
    if not live:
        return []
    version = live[0].version
    is_applied = (OperatingPoint.model_version == version) & OperatingPoint.applied_at.is_not(None)
    query = select(OperatingPoint).where(is_applied, OperatingPoint.retired_at.is_(None))
    points = {point.source: point for point in session.scalars(query)}
    found: list[Accuracy] = []
    samples: dict[str, list[AuditWord]] = {}
    for sample in words.words_of_audit(session, None, None, None):
        if sample.model_version == version:
            samples.setdefault(sample.source, []).append(sample)
    for source, mine in sorted(samples.items()):
        point = points.get(source)
        if point is not None and point.applied_at is not None:
            applied_at = point.applied_at
            mine = [sample for sample in mine if sample.drawn_at and sample.drawn_at >= applied_at]
        accuracy = of_samples(mine, settings, now, source, version)
        found.append(replace(accuracy, promised_recall=point.recall_goal) if point else accuracy)
    return found


def of_samples(
    samples: Sequence[AuditWord],
    settings: Settings,
    now: datetime,
    source: str | None = None,
    version: str | None = None,
) -> Accuracy:
    days = timedelta(days=settings.audit_days)
    is_read = np.array([sample.label is not None for sample in samples], bool)
    is_called_ill = np.array([sample.said == "PNEUMONIA" for sample in samples], bool)
    is_ill = np.array([sample.label == "PNEUMONIA" for sample in samples], bool)
    inclusion = np.array([sample.inclusion for sample in samples], np.float64)
    patients = np.array([sample.patient for sample in samples], np.str_)
    weights = weighted.respond(inclusion, _cells(samples), is_read)
    ill, well = is_read & is_ill, is_read & ~is_ill
    of_called, of_others = _largest(weights, is_called_ill), _largest(weights, ~is_called_ill)
    is_known = bool((is_read & is_called_ill).any() and (is_read & ~is_called_ill).any())
    recall = specificity = misses = UNKNOWN
    if is_known:
        recall = weighted.estimate(
            is_called_ill[ill], weights[ill], list(patients[ill]), hit_weight=of_called, miss_weight=of_others
        )
        specificity = weighted.estimate(
            ~is_called_ill[well], weights[well], list(patients[well]), hit_weight=of_others, miss_weight=of_called
        )
        misses = weighted.estimate(
            (ill & ~is_called_ill)[is_read],
            weights[is_read],
            list(patients[is_read]),
            hit_weight=of_others,
            miss_weight=max(of_called, of_others),
        )
    unread = [sample for sample in samples if not sample.readers]
    overdue = sum(sample.drawn_at is not None and now - sample.drawn_at > days for sample in unread)
    drawn_at = [sample.drawn_at for sample in samples if sample.drawn_at is not None]
    return Accuracy(
        source=source,
        model_version=version,
        since=min(drawn_at, default=None),
        until=max(drawn_at, default=None),
        reading=Reading(
            drawn=len(samples),
            read=int(is_read.sum()),
            undecided=len(samples) - len(unread) - int(is_read.sum()),
            waiting=len(unread) - overdue,
            overdue=overdue,
        ),
        found=int((ill & is_called_ill).sum()),
        missed=int((ill & ~is_called_ill).sum()),
        recall=recall,
        specificity=specificity,
        missed_share=misses,
        miss_weight=of_others / of_called if of_called else 1.0,
    )


def _cells(samples: Sequence[AuditWord]) -> NDArray[np.int64]:
    """One for each source, version and answer."""
    keys = [(sample.source, sample.model_version, sample.said) for sample in samples]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)


def _largest(weights: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    return float(weights[chosen].max()) if chosen.any() else 0.0
