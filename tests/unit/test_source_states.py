"""What producers say of their sources, from the ledger to `status`, `sources` and the metrics."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from prometheus_client import CollectorRegistry
from sqlalchemy import event

from cli.sources import sources
from cli.status import status
from cli.up import Watch
from producer.metrics import Situation
from producer.reporting import WRITE_EVERY, Reporter
from queries.sources import overview
from shared.base import host
from shared.base.errors import InvalidRequest
from shared.base.filesystem import MARKER
from shared.base.home import announcement
from shared.base.settings import load
from shared.base.source_report import SourceReport, WatchedBy
from shared.database import Database
from shared.ledger.source_states import last_images, read_states, write_states
from shared.ledger.work import Quarantined
from shared.sources.folder.polling import FolderPoller
from shared.sources.folder.source import FolderSource
from tests.unit.steps import NOW, after, drop, finish, in_hand, screened
from tests.unit.test_folder_unseen import as_another_user, sweep_whole, ward  # noqa: F401 - a fixture

HERE = host.name()
FULL = SourceReport(
    watched_by=WatchedBy.POLLING,
    problem="is out of reach: it hangs",
    remark="cannot be watched by events (no room): it is polled instead",
    files=7,
    unreadable=3,
    unreadable_names=("a", "caf\\xe9"),
    links=1,
    links_names=("ü 🩻",),
    ignored={"*.xml": 5, "temporary or hidden": 1},
    hung=1,
    swept_at=NOW.timestamp(),
)
FINE = SourceReport(WatchedBy.EVENTS, files=7)


def say(database: Database, now: datetime = NOW, host: str = HERE, **reports: SourceReport) -> None:
    with database.write() as session:
        write_states(session, host, now, reports)


def test_the_line_of_up_names_a_source_that_is_away_since_what_lies_there_waits_uncounted(database: Database) -> None:
    now = datetime.now(UTC)
    gone = replace(FULL, watched_by=WatchedBy.NOTHING)
    watch = Watch(database)

    def line() -> str:
        watch.look(0.0)
        return watch.line(1.0)

    say(database, now, ward=gone, icu=FINE)
    assert line().startswith("waiting 0 · done 0")
    assert line().endswith(" · away: ward")
    say(database, now, "other", ward=FINE)
    assert "away" not in line(), "another host sees what lies there"
    say(database, now, "other", ward=gone)
    assert line().endswith(" · away: ward")
    say(database, now, ward=FINE)
    assert "away" not in line()


@pytest.mark.parametrize(
    "report",
    [
        SourceReport(WatchedBy.POLLING, problem="is read-only, and its marker cannot be written"),
        SourceReport(WatchedBy.NOTHING),
    ],
    ids=["screened, though a person is needed", "not yet looked at"],
)
def test_the_line_of_up_calls_no_source_away_that_is_not(database: Database, report: SourceReport) -> None:
    say(database, datetime.now(UTC), ward=report)
    watch = Watch(database)
    watch.look(0.0)
    assert "away" not in watch.line(1.0)


def test_what_a_producer_says_is_read_as_it_was_said(database: Database) -> None:
    say(database, ward=FULL, icu=FINE)
    say(database, after(5), "other", ward=FINE)
    say(database, after(10), ward=FULL)
    with database.read() as session:
        found = [(one.source, one.host, one.report, one.began_at, one.seen_at) for one in read_states(session, NOW)]
    assert found == sorted(
        [
            ("ward", HERE, FULL, NOW, after(10)),
            ("icu", HERE, FINE, NOW, NOW),
            ("ward", "other", FINE, after(5), after(5)),
        ],
        key=lambda row: row[:2],
    )


def test_what_was_said_long_ago_is_not_read_and_is_removed_by_whoever_writes_next(database: Database) -> None:
    say(database, host="gone", ward=FULL)
    later = NOW + timedelta(minutes=61)
    with database.read() as session:
        assert len(read_states(session, NOW + timedelta(minutes=59))) == 1
        assert read_states(session, later) == []
    say(database, later, ward=FINE)
    with database.read() as session:
        assert [one.host for one in read_states(session, NOW)] == [HERE]


def test_registering_notes_when_the_last_image_of_a_source_came(database: Database) -> None:
    drop(database, "a.png", now=NOW)
    drop(database, "a.png", now=after(50))  # it is known already
    with database.read() as session:
        assert last_images(session) == {"ward": NOW}
    drop(database, "b.png", now=after(100))
    drop(database, "c.png", now=after(100.5))
    with database.read() as session:
        assert last_images(session) == {"ward": after(100)}


class FakePoller(FolderPoller):
    """Says what it is told to say."""

    def __init__(self, report: SourceReport) -> None:
        self.said = report

    def report(self) -> SourceReport:
        return self.said


def test_a_producer_writes_at_a_change_and_else_once_a_minute(database: Database) -> None:
    writes: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda _c, _u, statement, *_: writes.append(statement))
    poller, reporter = FakePoller(FINE), Reporter(database)

    def has_written(now: float) -> bool:
        writes.clear()
        reporter.report(now, {"ward": poller})
        return any("source_states" in statement for statement in writes)

    assert [has_written(now) for now in (0.0, 5.0, WRITE_EVERY - 1, WRITE_EVERY, WRITE_EVERY + 5)] == [
        *(True, False, False, True, False)
    ]
    poller.said = FULL
    assert [has_written(now) for now in (70.0, 75.0)] == [True, False]


@pytest.fixture
def settings(tmp_path: Path, database: Database, redis_url: str) -> Callable[..., object]:
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / MARKER).touch()

    def settings(**chosen: object) -> object:
        time_zone = chosen.pop("time_zone", "Europe/Berlin")
        source = {"path": tmp_path / "ward", "lane": "stat", **chosen}
        return load(tmp_path, broker_url=redis_url, sources={"ward": source}, time_zone=time_zone)

    return settings


@pytest.fixture
def screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Exit code and output of a command."""
    monkeypatch.setenv("COLUMNS", "400")

    def screen(command: Callable[..., None], *arguments: object) -> tuple[int, str]:
        try:
            command(*arguments)
        except typer.Exit as exit:
            return exit.exit_code, capsys.readouterr().out
        return 0, capsys.readouterr().out

    return screen


def needs(output: str) -> list[str]:
    return [line.removeprefix("Needs a person: ") for line in output.splitlines() if line.startswith("Needs a person")]


def test_sources_shows_each_source_and_is_content_where_all_is_well(
    settings: Callable[..., object], database: Database, screen: Callable[..., tuple[int, str]]
) -> None:
    now = datetime.now(UTC)
    finish(database, *map(screened, in_hand(database, "a.png")), now=now)
    finish(database, Quarantined(in_hand(database, "b.png")[0], "blank"), now=now)
    drop(database, "c.png", now=now)
    ignored = {"*.xml": 40, "DICOMDIR": 1}
    say(database, now, ward=SourceReport(WatchedBy.EVENTS, files=3, ignored=ignored, swept_at=NOW.timestamp()))
    code, output = screen(sources, settings(), "table")
    rows = [line.replace("│", " ").split() for line in output.splitlines()]
    (row,) = [row for row in rows if row[:2] == ["ward", "stat"]]
    assert row[2:11] == ["events", "on", HERE, "3", "41", "0", "0", *f"{NOW:%Y-%m-%d %H:%M}".split()]
    assert "ignored, not listed and links: as of the last complete sweep" in output
    assert row[-3:-1] == ["1", "1"]
    assert ["ward", "*.xml", "40"] in rows and ["ward", "DICOMDIR", "1"] in rows
    assert any(row[:2] == ["submitted", "routine"] for row in rows)
    assert code == 0, "ignored files are no reason to call anybody"


def test_sources_as_json_has_every_figure(
    settings: Callable[..., object], database: Database, screen: Callable[..., tuple[int, str]]
) -> None:
    now = datetime.now(UTC)
    say(database, now, "other", ward=FULL, elsewhere=FINE)
    say(database, now, "third", ward=replace(FULL, swept_at=after(50).timestamp()))
    code, output = screen(sources, settings(quiet_after=60.0, expected=["00:00-24:00"]), "json")
    found = json.loads(output)
    first, _, elsewhere = found["sources"]
    assert (first["name"], first["kind"], first["lane"], first["quiet_after"]) == ("ward", "folder", "stat", 60.0)
    assert (first["unreadable"], first["links"], first["ignored"]["*.xml"]) == (3, 1, 5)
    watcher, _ = first["watchers"]
    assert first["swept_at"] == NOW.isoformat(), "of the oldest figures"
    assert elsewhere["swept_at"] is None, "not yet"
    assert (watcher["host"], watcher["watched_by"], watcher["hung"]) == ("other", "polling", 1)
    assert watcher["links_names"] == ["ü 🩻"]
    assert watcher["swept_at"] == NOW.isoformat()
    assert (elsewhere["name"], elsewhere["place"], elsewhere["files"]) == ("elsewhere", None, 7)
    assert code == 1 and any("it hangs (seen from other, third)" in need for need in found["needs"])


def test_another_format_is_refused(settings: Callable[..., object]) -> None:
    with pytest.raises(InvalidRequest, match="--format must be table or json, not 'csv'"):
        sources(settings(), "csv")


def test_folders_that_cannot_be_listed_need_a_person_and_links_do_not(
    settings: Callable[..., object], database: Database, screen: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    names = tuple("abcdefg")
    report = SourceReport(WatchedBy.EVENTS, files=3, unreadable=7, unreadable_names=names, links=1, links_names=("x",))
    say(database, datetime.now(UTC), ward=report)
    for command in ((sources, settings(), "table"), (status, settings())):
        code, output = screen(*command)
        assert code == 1
        (need,) = [need for need in needs(output) if "cannot be listed" in need]
        assert need == (
            f"the source ward ({tmp_path / 'ward'}): 7 folders cannot be listed (a, b, c, d, e and 2 more, see "
            "`pneumoscreen sources`), so no image in there is seen: give the service's user the right to read and "
            "enter what is to be screened, or add the rest to `ignore`"
        )
        assert f"Whenever it suits: the source ward ({tmp_path / 'ward'}): 1 link is not followed (x)" in output
    say(database, datetime.now(UTC), ward=FINE)
    assert screen(sources, settings(), "table")[0] == 0


def test_what_two_hosts_say_alike_is_told_once_with_both(
    settings: Callable[..., object], database: Database, screen: Callable[..., tuple[int, str]]
) -> None:
    report = SourceReport(WatchedBy.EVENTS, unreadable=1, unreadable_names=("a",))
    for name in ("one", "two"):
        say(database, datetime.now(UTC), name, ward=report)
    (need,) = needs(screen(sources, settings(), "table")[1])
    assert need.endswith("(seen from one, two)")


def test_a_source_that_no_producer_watches_calls_somebody_and_a_producer_that_was_the_last_is_named(
    settings: Callable[..., object], database: Database, screen: Callable[..., tuple[int, str]]
) -> None:
    for command in ((sources, settings(), "table"), (status, settings())):
        (need,) = [need for need in needs(screen(*command)[1]) if "producer" in need]
        assert need.startswith("no producer watches the source ward: what is dropped there gets no row.")
    assert "nobody" in screen(sources, settings(), "table")[1]
    say(database, datetime.now(UTC) - timedelta(minutes=10), "other", ward=FULL, icu=FINE)
    for command in ((sources, settings(), "table"), (status, settings())):
        code, output = screen(*command)
        (need,) = [need for need in needs(output) if "producer" in need]
        silence = "(the one on other has given no sign of life for 10 min)"
        assert (code, need.partition(": ")[0]) == (1, f"no producer watches the sources ward, icu {silence}")
        assert "hangs" not in " ".join(needs(output)).replace(need, ""), "what it said is long ago"
    say(database, datetime.now(UTC), ward=FINE, icu=FINE)
    code, output = screen(sources, settings(), "table")
    assert code == 0, "another one watches them"
    assert "Whenever it suits: the producer on other has given no sign of life for 10 min; others watch" in output


def test_a_source_that_was_taken_out_of_the_settings_is_missed_by_nobody(
    settings: Callable[..., object], database: Database, screen: Callable[..., tuple[int, str]]
) -> None:
    say(database, datetime.now(UTC) - timedelta(minutes=10), ward=FINE, closed=FINE)
    say(database, datetime.now(UTC), ward=FINE)
    assert screen(sources, settings(), "table")[0] == 0


def test_nobody_is_called_for_a_producer_while_the_system_starts(
    settings: Callable[..., object], database: Database, screen: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    announcement(tmp_path).parent.mkdir()
    announcement(tmp_path).touch()
    assert screen(sources, settings(), "table")[0] == 0
    assert "no producer" not in screen(status, settings())[1]
    os.utime(announcement(tmp_path), (0, 0))
    assert screen(sources, settings(), "table")[0] == 1


def test_a_read_only_folder_is_one_sentence_and_not_out_of_reach(
    settings: Callable[..., object],
    database: Database,
    screen: Callable[..., tuple[int, str]],
    ward: Path,  # noqa: F811
) -> None:
    (ward / "a.png").write_bytes(b"an image")
    poller = FolderPoller(FolderSource("ward", ward, polling=True, settle=0.0), threading.Event())
    with as_another_user():
        report, found = sweep_whole(poller)
    assert found == ["a.png"]
    say(database, datetime.now(UTC), ward=report)
    (need,) = needs(screen(sources, settings(path=ward), "table")[1])
    assert need.startswith(f"the source ward ({ward}) cannot tell a removed file from a share that is away: its marker")
    assert needs(screen(sources, settings(path=ward, marker="a.png"), "table")[1]) == [need], "until the next look"
    poller = FolderPoller(FolderSource("ward", ward, polling=True, settle=0.0, marker="a.png"), threading.Event())
    with as_another_user():
        say(database, datetime.now(UTC), ward=sweep_whole(poller)[0])
    assert screen(sources, settings(path=ward, marker="a.png"), "table")[0] == 0


def silent_since(database: Database, settings: object, now: datetime) -> datetime | None:
    with database.read() as session:
        (found,) = [source for source in overview(session, settings, now) if source.name == "ward"]
    return found.silent_since


def test_a_source_is_silent_when_no_image_came_for_so_many_expected_hours(
    settings: Callable[..., object], database: Database, screen: Callable[..., tuple[int, str]]
) -> None:
    friday = datetime(2026, 1, 30, 15, 0, tzinfo=UTC)  # 16:00 in Berlin
    hours = {"quiet_after": 4 * 3600.0, "expected": ["Mon-Fri 07:00-18:00", "Sat 08:00-12:00"]}
    drop(database, "a.png", now=friday)
    saturday = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
    assert silent_since(database, settings(**hours), saturday - timedelta(minutes=1)) is None
    assert silent_since(database, settings(**hours), saturday) == saturday
    assert silent_since(database, settings(**hours), saturday + timedelta(days=1)) == saturday
    assert silent_since(database, settings(), saturday + timedelta(days=1)) is None, "only where it is asked for"
    (need,) = [need for need in needs(screen(status, settings(**hours))[1]) if "is silent" in need]
    assert "no image has come since 2026-01-30 15:00 (UTC), for more than 4 h of the hours in which" in need
    drop(database, "b.png", now=datetime.now(UTC))
    assert "is silent" not in screen(status, settings(**hours))[1]


def test_a_source_that_never_had_an_image_is_silent_from_when_it_is_watched(
    settings: Callable[..., object], database: Database
) -> None:
    assert silent_since(database, settings(quiet_after=60.0), NOW) is None, "nobody watches it yet"
    say(database, ward=FINE)
    say(database, after(50), ward=FINE)
    assert silent_since(database, settings(quiet_after=60.0), after(59)) is None
    assert silent_since(database, settings(quiet_after=60.0), after(61)) == after(60)


def test_the_metrics_tell_of_each_source(settings: Callable[..., object], database: Database) -> None:
    now = datetime.now(UTC)
    drop(database, "a.png", now=now)
    say(database, now, ward=FULL)
    say(database, now, "other", ward=FINE)
    registry = CollectorRegistry()
    registry.register(Situation(settings(quiet_after=60.0)))
    found = {
        (sample.name.removeprefix("pneumoscreen_source_"), *sample.labels.values()): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name.startswith("pneumoscreen_source_")
    }
    assert found.pop(("last_image_timestamp_seconds", "ward")) == pytest.approx(now.timestamp(), abs=0.001)
    assert found == {
        ("silent", "ward"): 0,
        ("silent", "submitted"): 0,
        ("problem", "ward"): 1,
        ("unreadable_folders", "ward"): 3,
        ("ignored_files", "ward", "*.xml"): 5,
        ("ignored_files", "ward", "temporary or hidden"): 1,
        ("waiting", "ward"): 1,
        ("waiting", "submitted"): 0,
        ("watched_by_events", "ward"): 0,
        ("watchers", "ward"): 2,
    }


def test_the_metrics_tell_of_a_source_that_nobody_watches(settings: Callable[..., object], database: Database) -> None:
    say(database, datetime.now(UTC) - timedelta(minutes=4), ward=FULL)
    registry = CollectorRegistry()
    registry.register(Situation(settings()))
    assert registry.get_sample_value("pneumoscreen_source_watchers", {"source": "ward"}) == 0
    assert registry.get_sample_value("pneumoscreen_source_watchers", {"source": "submitted"}) is None
    assert registry.get_sample_value("pneumoscreen_source_problem", {"source": "ward"}) is None, "that was long ago"
