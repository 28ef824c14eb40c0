"""The sources' metrics: as SQL has them, so that each producer tells of all producers' sources."""

from datetime import datetime

from prometheus_client.metrics_core import GaugeMetricFamily
from sqlalchemy.orm import Session

from queries.drift import Look
from queries.drift import overview as drifts
from queries.producers import watchers
from queries.sources import SourceOverview, overview
from shared.base.settings import Settings
from shared.statistics.drift import KINDS, NOVELTY, SCORES


class SourceFamilies:
    """Empty until `add` fills them."""

    def __init__(self) -> None:
        self._last_image = GaugeMetricFamily(
            "pneumoscreen_source_last_image_timestamp_seconds",
            "When the last image of the source was registered; none if none ever was.",
            labels=["source"],
        )
        self._silent = GaugeMetricFamily(
            "pneumoscreen_source_silent",
            "1 if no image has come for quiet_after of the hours in which images are expected.",
            labels=["source"],
        )
        self._problem = GaugeMetricFamily(
            "pneumoscreen_source_problem",
            "1 if a producer tells of a problem with the source, such as that it is away.",
            labels=["source"],
        )
        self._unreadable = GaugeMetricFamily(
            "pneumoscreen_source_unreadable_folders", "Folders in the source that cannot be listed.", labels=["source"]
        )
        self._ignored = GaugeMetricFamily(
            "pneumoscreen_source_ignored_files",
            "Files in the source that are ignored, by the pattern that they match; an ignored folder counts once.",
            labels=["source", "pattern"],
        )
        self._watchers = GaugeMetricFamily(
            "pneumoscreen_source_watchers",
            "Hosts whose producer has told lately that it watches the source.",
            labels=["source"],
        )
        self._waiting = GaugeMetricFamily(
            "pneumoscreen_source_waiting", "Images of the source that are not finished.", labels=["source"]
        )
        self._by_events = GaugeMetricFamily(
            "pneumoscreen_source_watched_by_events",
            "1 if every producer that watches the source does so by events, 0 if one polls it or cannot see it.",
            labels=["source"],
        )
        self._drift = GaugeMetricFamily(
            "pneumoscreen_source_drift",
            "1 if the newest images of the source are unlike its reference, by kind of difference.",
            labels=["source", "kind"],
        )
        self._psi = GaugeMetricFamily(
            "pneumoscreen_source_drift_psi",
            "Population stability index of the source's newest images; of the network's scores, and of novelty.",
            labels=["source", "kind"],
        )

    @property
    def all(self) -> list[GaugeMetricFamily]:
        return [
            *(self._last_image, self._silent, self._problem, self._unreadable),
            *(self._ignored, self._waiting, self._by_events, self._watchers, self._drift, self._psi),
        ]

    def add(self, session: Session, settings: Settings, now: datetime) -> None:
        overviews = overview(session, settings, now)
        for source in overviews:
            self._add(source, now)
        for name, count in watchers(overviews, now).items():
            self._watchers.add_metric([name], count)
        for drift in drifts(session):
            if drift.look is not None:
                self._add_drift(drift.source, drift.look)

    def _add(self, source: SourceOverview, now: datetime) -> None:
        name = source.name
        self._waiting.add_metric([name], source.waiting)
        self._silent.add_metric([name], source.silent_since is not None)
        if source.last_image is not None:
            self._last_image.add_metric([name], source.last_image.timestamp())
        fresh = [one for one in source.statements if one.is_fresh(now)]
        if not fresh:  # nobody watches it at this time: no figure is better than an old one
            return
        self._problem.add_metric([name], any(one.report.problem for one in fresh))
        self._unreadable.add_metric([name], max(one.report.unreadable for one in fresh))
        self._by_events.add_metric([name], source.is_watched_by_events)
        for pattern, number in source.ignored.items():
            self._ignored.add_metric([name, pattern], number)

    def _add_drift(self, name: str, look: Look) -> None:
        for kind in KINDS:
            self._drift.add_metric([name, kind], kind in look.alarms)
        for kind, psi in ((SCORES, look.psi), (NOVELTY, look.novelty_psi)):
            if psi is not None:
                self._psi.add_metric([name, kind], psi)
