import os
from pathlib import Path
from typing import Any

import pytest

from shared.base.errors import Removed
from shared.base.found import Found
from shared.base.lanes import Lane
from shared.database import Database, JobState, SightingState
from shared.ledger import register
from shared.ledger.register import as_path, as_text
from shared.ledger.work import Quarantined, Superseded
from shared.sources.folder.facts import Facts
from tests.unit.steps import NOW, after, claim, drop, file, finish, in_hand, jobs, rows, screened, send_all, sightings


def test_a_file_becomes_one_waiting_sighting_with_one_unsent_job(database: Database) -> None:
    (sighting,) = drop(database, "a.png", lane="stat")
    (job,) = jobs(database)
    assert (job.sighting_id, job.state, job.lane, job.attempt, job.deaths) == (sighting, JobState.UNSENT, "stat", 0, 0)
    assert [(s.source, s.path, s.state, s.seen_at) for s in sightings(database)] == [("ward", "a.png", "waiting", NOW)]


def test_a_file_that_is_registered_twice_is_registered_once(database: Database) -> None:
    first = drop(database, "a.png")
    again = drop(database, "a.png", now=after(60))
    assert (len(first), again, len(jobs(database))) == (1, [], 1)
    assert sightings(database)[0].seen_at == NOW


def test_a_file_named_twice_in_one_transaction_is_registered_once(database: Database) -> None:
    assert len(drop(database, file("a.png"), file("a.png"))) == 1
    assert len(jobs(database)) == 1


@pytest.mark.parametrize("change", [{"size": 11}, {"second": 2}, {"second": -1}, {"path": "b.png"}])
def test_a_file_that_differs_in_name_size_or_second_is_another_sighting(
    database: Database, change: dict[str, Any]
) -> None:
    drop(database, file())
    assert len(drop(database, file())) == 0
    assert len(drop(database, file(**change))) == 1


def test_the_same_path_in_two_folders_is_two_images(database: Database) -> None:
    drop(database, file())
    with database.write() as session:
        assert len(register.register(session, "clinic", "routine", [file()], NOW)) == 1
    assert {(s.source, s.path) for s in sightings(database)} == {("ward", "a.png"), ("clinic", "a.png")}


def test_nothing_to_register_is_no_error(database: Database) -> None:
    assert drop(database) == []


def test_a_thousand_files_fit_into_one_transaction(database: Database) -> None:
    assert len(drop(database, *(f"{n}.png" for n in range(register.MAX_ROWS)))) == register.MAX_ROWS
    with database.read() as session:
        files = [file(f"{n}.png", second=n + 1) for n in range(register.MAX_ROWS)]
        assert register.unknown(session, "ward", files) == []


def test_only_files_that_are_new_as_they_are_now_are_unknown(database: Database) -> None:
    drop(database, file("same.png"), file("changed.png"))
    changed, new = file("changed.png", size=11), file("new.png")
    with database.read() as session:
        assert register.unknown(session, "ward", [file("same.png"), changed, new]) == [changed, new]
        assert register.unknown(session, "clinic", [file("same.png")]) == [file("same.png")]


NAMES = [
    'it\'s "quoted".png',
    "new\nline and\ttab.png",
    "🩻 Thorax Müller 胸部.png",
    "100%_done.png",
    "back\\slash.png",
    "'; DROP TABLE jobs; --.png",
    " leading and trailing .png ",
    os.fsdecode(b"caf\xe9.png"),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_file_of_any_name_is_found_again_under_that_name(database: Database, name: str) -> None:
    assert len(drop(database, name)) == 1
    assert drop(database, name) == []
    with database.read() as session:
        assert register.unknown(session, "ward", [file(name)]) == []
    (claimed,) = claim(database, send_all(database))
    assert claimed.path == name


def test_a_name_that_is_not_utf_8_is_escaped_in_results_and_kept_as_bytes(database: Database) -> None:
    drop(database, os.fsdecode(b"caf\xe9.png"))
    assert rows(database)[0]["path"] == "caf\\xe9.png"
    assert sightings(database)[0].path_bytes == b"caf\xe9.png"


def test_a_name_that_is_valid_utf_8_is_stored_as_it_is() -> None:
    assert as_text("Müller.png") == ("Müller.png", None)
    assert as_path("Müller.png", None) == "Müller.png"


def test_a_revision_is_size_and_whole_second_and_a_hint_is_what_hosts_may_see_differently(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    os.utime(tmp_path / "a.png", ns=(1, 1_700_000_000_123_456_789))
    stat = (tmp_path / "a.png").stat()
    assert Facts.of(stat) == Facts(5, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns)
    assert Facts.of(stat).revision == "5:1700000000"
    assert Facts.of(stat).hint == f"123456789:{stat.st_ino}:{stat.st_ctime_ns}"


def test_a_time_before_1970_is_rounded_down_as_every_other_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    os.utime(tmp_path / "a.png", ns=(1, -1_500_000_000))
    assert Facts.of((tmp_path / "a.png").stat()).revision == "5:-2"


def test_a_file_dated_in_the_far_future_is_registered(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    os.utime(tmp_path / "a.png", (10_000_000_000, 10_000_000_000))
    stat = (tmp_path / "a.png").stat()
    if stat.st_mtime < 10_000_000_000:
        pytest.fail("this file system knows no such times")
    assert len(drop(database, Facts.of(stat).found("a.png"))) == 1


def test_a_file_that_changed_while_it_waited_is_registered_as_it_is_now(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    finish(database, Superseded(claimed, file(size=99, second=2), after(2)))
    old, new = sightings(database)
    assert (old.state, new.state, new.size) == (SightingState.SUPERSEDED, SightingState.WAITING, 99)
    first, second = jobs(database)
    assert (first.state, second.state, second.not_before) == (JobState.FINISHED, JobState.UNSENT, after(2))
    assert second.sighting_id == new.id


def test_a_changed_file_that_the_watch_registered_first_gets_no_second_job(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    changed = file("a.png", size=99)
    drop(database, changed)
    finish(database, Superseded(claimed, changed, after(2)))
    assert [s.state for s in sightings(database)] == ["superseded", "waiting"]
    assert [j.state for j in jobs(database)] == ["finished", "unsent"]


def become(database: Database, old: Found, new: Found) -> None:
    """While `old` waits, the file becomes `new`, which the worker notices."""
    (claimed,) = claim(database, send_all(database, now=after(60)))
    assert claimed.revision == old.revision
    finish(database, Superseded(claimed, new, after(2)))


def test_a_file_that_becomes_again_what_it_was_is_screened_as_that(database: Database) -> None:
    first, second = file(size=1), file(size=2)
    drop(database, first)
    become(database, first, second)
    become(database, second, first)
    assert [(row["size"], row["state"], row["finished_at"]) for row in rows(database)] == [(1, "waiting", None)]
    (claimed,) = claim(database, send_all(database, now=after(60)))
    assert claimed.revision == first.revision
    finish(database, screened(claimed))
    assert [(row["size"], row["state"]) for row in rows(database)] == [(1, "done")]
    assert [s.state for s in sightings(database)] == ["superseded", "superseded", "done"]


def test_a_file_restored_from_a_backup_is_screened_although_it_was_superseded_once(database: Database) -> None:
    first, second = file(size=1), file(size=2)
    drop(database, first)
    become(database, first, second)
    (claimed,) = claim(database, send_all(database, now=after(60)))
    finish(database, screened(claimed))
    with database.read() as session:
        assert register.unknown(session, "ward", [first]) == [first]
    drop(database, first)
    assert [(row["size"], row["state"]) for row in rows(database)] == [(1, "waiting")]


def test_a_file_restored_from_a_backup_gets_its_own_result_back(database: Database) -> None:
    first, second = file(size=1), file(size=2)
    for found, content, probability in ((first, "a", 0.9), (second, "b", 0.1)):
        (claimed,) = in_hand(database, found)
        finish(database, screened(claimed, probability, content))
    with database.read() as session:
        assert register.unknown(session, "ward", [first]) == [first]
    drop(database, first)
    (claimed,) = claim(database, send_all(database))
    finish(database, screened(claimed, 0.9, "a"))
    assert [(row["size"], row["label"]) for row in rows(database)] == [(1, "PNEUMONIA")]


def test_retry_screens_quarantined_images_again_and_forgets_the_reason(database: Database) -> None:
    (claimed,) = in_hand(database, "a.png")
    finish(database, Quarantined(claimed, "the disk was full"))
    with database.write() as session:
        assert register.retry(session, [claimed.sighting], after(60)) == 1
    assert [(row["state"], row["reason"], row["finished_at"]) for row in rows(database)] == [("waiting", None, None)]
    (again,) = claim(database, send_all(database, now=after(60)))
    finish(database, screened(again))
    assert [row["state"] for row in rows(database)] == ["done"]


def test_retry_leaves_alone_what_is_not_quarantined(database: Database) -> None:
    done, waiting, quarantined = in_hand(database, "done.png", "waiting.png", "quarantined.png")
    finish(database, screened(done), Quarantined(quarantined, "not an image"))
    every = [done.sighting, waiting.sighting, quarantined.sighting]
    with database.write() as session:
        assert register.retry(session, every, after(60)) == 1
        assert register.retry(session, every, after(60)) == 0
    assert [j.state for j in jobs(database)] == ["finished", "claimed", "finished", "unsent"]


def test_a_file_that_was_removed_before_it_was_read_and_is_back_is_screened(database: Database) -> None:
    (claimed,) = in_hand(database, "away.png")
    back = Found("away.png", claimed.revision, 10)
    finish(database, Quarantined(claimed, Removed.REASON))
    with database.write() as session:
        assert register.unknown(session, "ward", [back]) == [back]
        assert len(register.register(session, "ward", "routine", [back], NOW)) == 1
    (again,) = claim(database, send_all(database))
    finish(database, Quarantined(again, "blank"))
    with database.read() as session:
        assert register.unknown(session, "ward", [back]) == []


def test_what_is_retried_goes_into_the_lane_of_its_arrival(database: Database) -> None:
    drop(database, "urgent.png", lane="stat")
    drop(database, file("usual.png", second=2))
    urgent, usual = [*claim(database, send_all(database, Lane.STAT)), *claim(database, send_all(database))]
    finish(database, Quarantined(urgent, "blank"), Quarantined(usual, "blank"))
    with database.write() as session:
        assert register.retry(session, [urgent.sighting, usual.sighting], NOW) == 2
    assert sorted((job.sighting_id, job.lane) for job in jobs(database) if job.state == JobState.UNSENT) == [
        (urgent.sighting, Lane.STAT),
        (usual.sighting, Lane.ROUTINE),
    ]
