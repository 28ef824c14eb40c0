"""The sources of images: how each is watched, what cannot be seen of it, what waits, and whether it is silent."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from shared import sources
from shared.base import host
from shared.base.lanes import Lane
from shared.base.settings import Settings
from shared.base.source_report import SourceReport, WatchedBy
from shared.base.weekly_hours import WeeklyHours
from shared.database import Sighting, SightingState
from shared.ledger.quarantine import is_unresolved
from shared.ledger.source_states import Statement, last_images, read_states


@dataclass(frozen=True)
class SourceOverview:
    """A source of this host's settings, or one that only a producer of another host speaks of."""

    name: str
    kind: str | None
    lane: Lane | None
    place: str | None  # on this host
    is_watched: bool  # by producers; else whoever brings an image registers it
    statements: tuple[Statement, ...]  # of each host's producer, of the last hour
    last_image: datetime | None
    waiting: int
    quarantined: int | None  # and not resolved; None if it was not asked for
    quiet_after: timedelta | None
    expected: tuple[str, ...]
    silent_since: datetime | None

    @property
    def files(self) -> int | None:
        """This and the other counts of what lies in it are of the last complete sweep: see `swept_at`."""
        return max((one.report.files for one in self.statements if one.report.files is not None), default=None)

    @property
    def unreadable(self) -> int:
        return max((one.report.unreadable for one in self.statements), default=0)

    @property
    def links(self) -> int:
        return max((one.report.links for one in self.statements), default=0)

    @property
    def ignored(self) -> dict[str, int]:
        """By pattern; hosts that see the same files are not added up."""
        numbers: dict[str, int] = {}
        for one in self.statements:
            for pattern, number in one.report.ignored.items():
                numbers[pattern] = max(number, numbers.get(pattern, 0))
        return numbers

    @property
    def swept_at(self) -> datetime | None:
        """When the oldest of the sweeps ended that the counts are of; None before the first complete one."""
        ends = [one.report.swept_at for one in self.statements if one.report.swept_at is not None]
        return datetime.fromtimestamp(min(ends), UTC) if ends else None

    @property
    def is_watched_by_events(self) -> bool:
        """By every producer that watches it."""
        return bool(self.statements) and all(one.report.watched_by == WatchedBy.EVENTS for one in self.statements)


def overview(
    session: Session, settings: Settings, now: datetime, *, count_quarantined: bool = False
) -> list[SourceOverview]:
    """Each source of the settings and each that a producer speaks of. Counts by indexes alone; asks no source."""
    known = sources.build(settings)
    statements = read_states(session, now)
    waiting = _count(session, Sighting.state == SightingState.WAITING)
    quarantined = _count(session, is_unresolved()) if count_quarantined else None
    last = last_images(session)
    found = []
    for name in dict.fromkeys([*known, *(one.source for one in statements)]):
        source, chosen = known.get(name), settings.sources.get(name)
        mine = tuple(one for one in statements if one.source == name)
        quiet = timedelta(seconds=chosen.quiet_after) if chosen and chosen.quiet_after else None
        expected = chosen.expected if chosen else ()
        found.append(
            SourceOverview(
                name=name,
                kind=source.kind if source else None,
                lane=source.lane if source else None,
                place=source.place if source else None,
                is_watched=source.is_watched if source else True,
                statements=mine,
                last_image=last.get(name),
                waiting=waiting.get(name, 0),
                quarantined=quarantined.get(name, 0) if quarantined is not None else None,
                quiet_after=quiet,
                expected=expected,
                silent_since=_silent_since(
                    WeeklyHours.parse(expected, settings.zone), quiet, _since(last.get(name), mine), now
                ),
            )
        )
    return found


def _count(session: Session, condition: ColumnElement[bool]) -> dict[str, int]:
    rows = session.execute(select(Sighting.source, func.count()).where(condition).group_by(Sighting.source))
    return dict(rows.all())


def _since(last_image: datetime | None, statements: Iterable[Statement]) -> datetime | None:
    """From when on an image is missed: where none ever came, since the source is watched."""
    return last_image or min((one.began_at for one in statements), default=None)


def _silent_since(
    hours: WeeklyHours, quiet_after: timedelta | None, since: datetime | None, now: datetime
) -> datetime | None:
    if quiet_after is None or since is None:
        return None
    return hours.reached(since, quiet_after, now)


def with_problems(overviews: Iterable[SourceOverview], now: datetime) -> set[str]:
    """The sources whose problem this host's own producer tells of."""
    here = host.name()
    return {
        source.name
        for source in overviews
        for one in source.statements
        if one.host == here and one.is_fresh(now) and one.report.problem
    }


def away(session: Session, now: datetime) -> list[str]:
    """The sources that no producer can see, each of which told why: what lies in them has no row yet."""
    seen: set[str] = set()
    gone: set[str] = set()
    for one in read_states(session, now):
        if one.is_fresh(now):
            is_away = one.report.watched_by is WatchedBy.NOTHING and one.report.problem is not None
            (gone if is_away else seen).add(one.source)
    return sorted(gone - seen)


def told(source: SourceOverview, now: datetime, sentence: Callable[[SourceReport], str | None]) -> list[str]:
    """What the producers say of a source, each sentence once, with their hosts unless it is this one alone."""
    hosts: dict[str, list[str]] = {}
    for one in source.statements:
        if one.is_fresh(now) and (text := sentence(one.report)):
            hosts.setdefault(text, []).append(one.host)
    here = [host.name()]
    return [text if said == here else f"{text} (seen from {', '.join(said)})" for text, said in hosts.items()]


def has_sightings(session: Session, source: str) -> bool:
    """Whether an image of this source was ever registered."""
    return session.scalar(select(Sighting.id).where(Sighting.source == source).limit(1)) is not None
