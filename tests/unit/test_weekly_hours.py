"""Hours of a week, as sites expect their images: read, and counted between two moments."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from shared.base.weekly_hours import WeeklyHours, find_zone

BERLIN = ZoneInfo("Europe/Berlin")
CLINIC = ("Mon-Fri 07:00-18:00", "Sat 08:00-12:00")
HOUR = timedelta(hours=1)


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def hours(since: str, until: str, *entries: str) -> float:
    return WeeklyHours.parse(entries, BERLIN).between(berlin(since), berlin(until)) / HOUR


@pytest.mark.parametrize(
    ("since", "until", "entries", "expected"),
    [
        ("2026-01-30 16:00", "2026-01-30 17:30", CLINIC, 1.5),  # a Friday
        ("2026-01-30 16:00", "2026-01-31 10:00", CLINIC, 4),
        ("2026-01-30 16:00", "2026-02-02 08:00", CLINIC, 2 + 4 + 1),  # over the weekend
        ("2026-02-01 00:00", "2026-02-01 24:00", CLINIC, 0),  # a Sunday
        ("2026-01-30 17:00", "2026-01-30 16:00", CLINIC, 0),
        ("2026-01-26 00:00", "2026-02-02 00:00", CLINIC, 5 * 11 + 4),
        ("2026-01-30 16:00", "2026-01-31 16:00", (), 24),  # all time, if no hours are named
        ("2026-01-30 23:00", "2026-01-31 05:00", ("Fri 22:00-04:00",), 5),  # across midnight
        ("2026-01-31 01:00", "2026-01-31 05:00", ("Fri 22:00-04:00",), 3),  # begun on the day before
        ("2026-02-01 22:00", "2026-02-02 06:00", ("Sun 22:00-04:00",), 6),  # across the end of the week
        ("2026-01-30 00:00", "2026-01-30 24:00", ("Fri 07:00-12:00", "Fri 10:00-13:00", "fri 08:00-09:00"), 6),
        ("2026-01-30 20:00", "2026-01-31 12:00", ("Fri 22:00-06:00", "Sat 05:00-07:00"), 9),
        ("2026-01-26 00:00", "2026-02-02 00:00", ("Sat-Mon 10:00-11:00", "Wed,Thu 10:00-11:00"), 5),
        ("2026-01-26 00:00", "2026-02-02 00:00", ("00:00-24:00",), 7 * 24),
        ("2026-03-29 00:00", "2026-03-29 24:00", ("Sun 01:00-04:00",), 2),  # clocks are set forward
        ("2026-03-29 00:00", "2026-03-29 24:00", ("00:00-24:00",), 23),
        ("2026-10-25 00:00", "2026-10-25 24:00", ("Sun 01:00-04:00",), 4),  # and back
        ("2026-10-25 00:00", "2026-10-25 24:00", ("Sun 02:00-03:00",), 2),
    ],
)
def test_the_hours_between_two_moments(since: str, until: str, entries: tuple[str, ...], expected: float) -> None:
    until, days = (until.replace("24:00", "00:00"), 1) if until.endswith("24:00") else (until, 0)
    end = (datetime.fromisoformat(until) + timedelta(days=days)).isoformat()
    assert hours(since, end, *entries) == expected


@pytest.mark.parametrize(
    ("since", "span", "until", "expected"),
    [
        ("2026-01-30 16:00", 4, "2026-01-31 12:00", "2026-01-31 10:00"),
        ("2026-01-30 16:00", 4, "2026-01-31 10:00", "2026-01-31 10:00"),
        ("2026-01-30 16:00", 4, "2026-01-31 09:59", None),
        ("2026-01-30 12:00", 4, "2026-02-08 12:00", "2026-01-30 16:00"),
        ("2026-01-31 12:00", 1, "2026-02-02 07:30", None),  # since the end of Saturday
        ("2026-01-31 12:00", 1, "2026-02-02 08:30", "2026-02-02 08:00"),
    ],
)
def test_the_moment_at_which_so_many_hours_had_passed(
    since: str, span: float, until: str, expected: str | None
) -> None:
    reached = WeeklyHours.parse(CLINIC, BERLIN).reached(berlin(since), span * HOUR, berlin(until))
    assert reached == (berlin(expected) if expected else None)


def test_without_hours_all_time_counts() -> None:
    now = datetime(2026, 1, 30, tzinfo=UTC)
    assert WeeklyHours().reached(now, HOUR, now + HOUR) == now + HOUR
    assert WeeklyHours().reached(now, HOUR, now + HOUR / 2) is None


@pytest.fixture
def _host_in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    os.environ.pop("TZ")
    time.tzset()


@pytest.mark.usefixtures("_host_in_new_york")
def test_without_a_zone_the_hosts_own_counts() -> None:
    day = datetime(2026, 1, 30, tzinfo=UTC)
    entries = WeeklyHours.parse(["Fri 07:00-18:00"])
    assert entries.reached(day, HOUR, day + 24 * HOUR) == day + 13 * HOUR


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("always", "'always' does not name days and hours"),
        ("Mon-Fri", "'Mon-Fri' does not name days and hours"),
        ("Mo-Fr 07:00-18:00", "there is no day 'mo'"),
        ("Mon- 07:00-18:00", "there is no day ''"),
        ("Mon 07:60-18:00", "there is no time 07:60"),
        ("Mon 07:00-25:00", "there is no time 25:00"),
        ("Mon 07:00-24:01", "there is no time 24:01"),
        ("Mon 07:00-07:00", "'Mon 07:00-07:00' has no length"),
        ("Mon 24:00-07:00", "has no length"),
        ("", "'' does not name"),
    ],
)
def test_an_entry_that_cannot_be_read_is_quoted(entry: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        WeeklyHours.parse(["Mon 07:00-18:00", entry])


def test_a_zone_that_does_not_exist_is_named() -> None:
    assert find_zone("Europe/Berlin") == BERLIN
    for name in ("Europe/Atlantis", "", "../etc/passwd", "/etc/localtime"):
        with pytest.raises(ValueError, match="there is no time zone"):
            find_zone(name)
