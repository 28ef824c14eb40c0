"""A week's hours, such as "Mon-Fri 07:00-18:00": read from settings, and counted between two moments.

Hours are what clocks on the wall show: on the day on which clocks are set forward, 01:00-04:00 is two hours long.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Self

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ENTRY = re.compile(r"(?:(?P<days>[a-z, -]+?)\s+)?(?P<begin>\d{1,2}:\d\d)\s*-\s*(?P<end>\d{1,2}:\d\d)", re.IGNORECASE)
DAY = timedelta(days=1)


def find_zone(name: str) -> tzinfo:
    """Raises ValueError if there is no such time zone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # few installations set one

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}: names are such as Europe/Berlin") from error


@dataclass(frozen=True)
class Hours:
    """On these weekdays (0 is Monday), from `begin` until `end` after midnight; `end` may lie on the next day."""

    days: frozenset[int]
    begin: timedelta
    end: timedelta


@dataclass(frozen=True)
class WeeklyHours:
    """`zone` None is the host's own time zone. Without any hours, all time counts."""

    hours: tuple[Hours, ...] = ()
    zone: tzinfo | None = None

    @classmethod
    def parse(cls, entries: Iterable[str], zone: tzinfo | None = None) -> Self:
        """Raises ValueError with a sentence that quotes the entry that cannot be read."""
        return cls(tuple(map(_parse, entries)), zone)

    def between(self, since: datetime, until: datetime) -> timedelta:
        """How much of the hours lies between two moments."""
        return sum((end - begin for begin, end in self._intervals(since, until)), timedelta())

    def reached(self, since: datetime, span: timedelta, until: datetime) -> datetime | None:
        """When so much of the hours had passed after `since`; None if that is not so before `until`."""
        for begin, end in self._intervals(since, until):
            if end - begin >= span:
                return begin + span
            span -= end - begin
        return None

    def _intervals(self, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The hours between two moments, in UTC, in order and without overlap."""
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        if since >= until:
            return
        if not self.hours:
            yield since, until
            return
        counted = since
        day, last = since.astimezone(self.zone).date() - DAY, until.astimezone(self.zone).date()
        while day <= last:
            for begin, end in sorted(self._of_day(day)):
                begin, end = max(begin, counted), min(end, until)
                if begin < end:
                    yield begin, end
                    counted = end
            day += DAY

    def _of_day(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        for hours in self.hours:
            if day.weekday() in hours.days:
                yield self._moment(day, hours.begin, fold=0), self._moment(day, hours.end, fold=1)

    def _moment(self, day: date, after_midnight: timedelta, *, fold: int) -> datetime:
        """When clocks show this; of an hour that comes twice, `fold` says which."""
        shown = datetime.combine(day, time()) + after_midnight
        return shown.replace(fold=fold, tzinfo=self.zone).astimezone(UTC)


def _parse(entry: str) -> Hours:
    match = ENTRY.fullmatch(entry.strip())
    if match is None:
        raise ValueError(
            f'{entry!r} does not name days and hours, such as "Mon-Fri 07:00-18:00" or "Sat,Sun 22:00-06:00"'
        )
    begin, end = (_time(match[name], entry) for name in ("begin", "end"))
    if begin in (end, DAY):
        raise ValueError(f"{entry!r} has no length: a whole day is 00:00-24:00")
    return Hours(_days(match["days"], entry), begin, end if end > begin else end + DAY)


def _time(text: str, entry: str) -> timedelta:
    hour, minute = map(int, text.split(":"))
    if minute > 59 or hour > 24 or (hour == 24 and minute):
        raise ValueError(f"{entry!r}: there is no time {text}")
    return timedelta(hours=hour, minutes=minute)


def _days(text: str | None, entry: str) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        names = [name.strip().lower() for name in part.split("-", 1)]
        for name in names:
            if name not in DAYS:
                raise ValueError(f"{entry!r}: there is no day {name!r}: they are Mon, Tue, Wed, Thu, Fri, Sat and Sun")
        first, last = DAYS.index(names[0]), DAYS.index(names[-1])
        days.update((first + number) % 7 for number in range((last - first) % 7 + 1))
    return frozenset(days)
