"""Metrics of the audit samples: recall, specificity and misses of each source by the live version."""

import time
from datetime import datetime

from prometheus_client.metrics_core import GaugeMetricFamily
from sqlalchemy.orm import Session

from queries import accuracy
from queries.accuracy import Accuracy
from shared.base.settings import Settings

FRESH_SECONDS = 300.0
"""The intervals take longer to compute than other figures, and change slowly."""


class AccuracyFigures:
    """Keeps what it computed; `families` makes the families of a scrape from it."""

    def __init__(self) -> None:
        self._found: list[Accuracy] = []
        self._computed_at: float | None = None

    def families(self, session: Session, settings: Settings, now: datetime) -> list[GaugeMetricFamily]:
        if self._computed_at is None or time.monotonic() - self._computed_at > FRESH_SECONDS:
            self._found, self._computed_at = accuracy.in_service(session, settings, now), time.monotonic()
        return _families(self._found)


def _families(found: list[Accuracy]) -> list[GaugeMetricFamily]:
    shares = {
        name: GaugeMetricFamily(name, text, labels=["source", "version", "bound"])
        for name, text in (
            ("pneumoscreen_audit_recall", "Recall by the audit samples, with its one-sided 95 % bounds."),
            ("pneumoscreen_audit_specificity", "Specificity by the audit samples, with its one-sided 95 % bounds."),
            (
                "pneumoscreen_audit_missed_ratio",
                "Missed pneumonias among all images, with one-sided 95 % bounds.",
            ),
        )
    }
    promised = GaugeMetricFamily(
        "pneumoscreen_audit_recall_promised", "The recall that was promised of a source.", labels=["source", "version"]
    )
    samples = GaugeMetricFamily(
        "pneumoscreen_audit_samples",
        "Audit samples, by what became of them; unread: for longer than audit_days.",
        labels=["source", "version", "state"],
    )
    for part in found:
        labels = [part.source or "", part.model_version or ""]
        promised.add_metric(labels, part.promised_recall)
        reading = part.reading
        states = {"read": reading.read, "undecided": reading.undecided, "waiting": reading.waiting}
        for state, number in {**states, "unread": reading.overdue}.items():
            samples.add_metric([*labels, state], number)
        for family, share in zip(shares.values(), (part.recall, part.specificity, part.missed_share), strict=True):
            if share.value is not None:
                for bound, figure in (("estimate", share.value), ("low", share.low), ("high", share.high)):
                    family.add_metric([*labels, bound], figure)
    return [*shares.values(), promised, samples]
