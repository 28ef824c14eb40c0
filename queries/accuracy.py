"""How well the running system does, by its audit samples: recall, specificity and misses, weighted and with intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from shared.base.settings import Settings
from shared.ledger import words
from shared.ledger.words import AuditWord
from shared.statistics import weighted
from shared.statistics.weighted import UNKNOWN, Share

PROMISED_RECALL = 0.95
"""Of a source without an operating point of its own."""


@dataclass(frozen=True)
class Reading:
    """What became of the audit samples."""

    drawn: int
    read: int  # with a word that counts
    undecided: int  # read, but readers could not tell or disagree
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
    misses_per_1000: Share
    miss_weight: float = 1.0
    """How many times as much a missed positive weighs as one that was found."""

    @property
    def positives_needed(self) -> int:
        return weighted.positives_needed(PROMISED_RECALL, max(1.0, self.miss_weight))


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
    if (is_read & ~is_called_ill).any():
        share = weighted.estimate(
            (ill & ~is_called_ill)[is_read],
            weights[is_read],
            list(patients[is_read]),
            hit_weight=of_others,
            miss_weight=max(of_called, of_others),
        )
        misses = Share(1000 * (share.value or 0.0), 1000 * share.low, 1000 * share.high, share.images, share.effective)
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
        misses_per_1000=misses,
        miss_weight=of_others / of_called if of_called else 1.0,
    )


def _cells(samples: Sequence[AuditWord]) -> NDArray[np.int64]:
    """One for each source, version and answer."""
    keys = [(sample.source, sample.model_version, sample.said) for sample in samples]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)


def _largest(weights: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    return float(weights[chosen].max()) if chosen.any() else 0.0
