"""What `screen` submits, where it is registered, and how it is waited for."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from actions import submission
from queries.submission import outcomes
from shared import sources
from shared.base import settings
from shared.base.errors import InvalidRequest, ServiceUnavailable
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.database import Database, Job, Sighting, SightingState, Worker
from shared.ledger.work import MAX_ATTEMPTS
from shared.sources import Source
from tests.unit.steps import NOW, jobs, sightings


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    """A home, and a source whose patterns are its own."""
    (tmp_path / "home").mkdir()
    ward = {"path": tmp_path / "ward", "lane": "stat", "ignore": ["*-preview.png"]}
    return settings.load(tmp_path / "home", sources={"ward": ward})


@pytest.fixture
def known(chosen: Settings) -> Mapping[str, Source]:
    return sources.build(chosen)


def put(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"an image")
    return file


def names(known: Mapping[str, Source], *paths: Path) -> list[str]:
    return [file.name for file in submission.find_files(known, paths).files]


def test_a_folder_means_its_files_less_what_accompanies_images(known: Mapping[str, Source], tmp_path: Path) -> None:
    for name in (
        "b.png",
        "sub/a.dcm",
        "DICOMDIR",
        "report.pdf",
        "sub/meta.xml",
        ".hidden.png",
        "c.part",
        "x-preview.png",
    ):
        put(tmp_path / "export" / name)
    assert names(known, tmp_path / "export") == ["b.png", "a.dcm", "x-preview.png"]


def test_a_folder_of_a_source_means_what_that_source_does_not_ignore(
    known: Mapping[str, Source], tmp_path: Path
) -> None:
    for name in ("a.png", "a-preview.png", "report.pdf"):
        put(tmp_path / "ward" / "sub" / name)
    assert names(known, tmp_path / "ward" / "sub") == ["a.png", "report.pdf"]


def test_a_file_that_is_named_is_submitted_whatever_the_patterns_say(
    known: Mapping[str, Source], tmp_path: Path
) -> None:
    files = [put(tmp_path / name) for name in ("report.pdf", "DICOMDIR", "ward/a-preview.png", ".hidden.png", "c.part")]
    assert names(known, *files) == ["report.pdf", "DICOMDIR", "a-preview.png"]


def test_a_path_with_dots_is_held_by_the_folder_in_which_the_file_lies(
    database: Database, known: Mapping[str, Source], tmp_path: Path
) -> None:
    put(tmp_path / "ward" / "a.png")
    put(tmp_path / "archive" / "b.png")
    into, out = tmp_path / "archive" / ".." / "ward" / "a.png", tmp_path / "ward" / ".." / "archive" / "b.png"
    submission.submit_all(database, known, submission.find_files(known, [into, out]))
    assert [row.source for row in sightings(database)] == ["ward", "submitted"]


def test_nothing_to_screen_is_said_in_a_sentence(
    database: Database, known: Mapping[str, Source], tmp_path: Path
) -> None:
    put(tmp_path / "export" / "report.pdf")
    chosen = submission.find_files(known, [tmp_path / "export"])
    with pytest.raises(InvalidRequest, match=r"no files there to screen.*setting `ignore`") as caught:
        submission.submit_all(database, known, chosen)
    assert caught.value.exit_code == 2


def test_of_ten_files_those_that_cannot_be_screened_are_named_with_their_reasons_and_the_others_are_submitted(
    database: Database, known: Mapping[str, Source], tmp_path: Path
) -> None:
    good = [put(tmp_path / "archive" / f"{number}.png") for number in range(5)]
    (tmp_path / "archive" / "pipe.png").symlink_to("pipe.png")
    (tmp_path / "ward").mkdir()
    bad = [tmp_path / name for name in ("archive/pipe.png", "archive/gone.png", "ward/gone.png", ".hidden.png")]
    (tmp_path / "empty").mkdir()
    chosen = submission.find_files(known, [*good[:3], *bad, tmp_path / "empty", *good[3:]])
    advanced: list[int] = []
    assert len(submission.submit_all(database, known, chosen, advanced.append)) == 5
    assert len(advanced) == len(chosen.files) == 8
    assert [row.origin for row in sightings(database)] == [str(file) for file in good]
    reasons = {file.relative_to(tmp_path).as_posix(): reason for file, reason in chosen.refused.items()}
    assert reasons.keys() == {"archive/pipe.png", "archive/gone.png", "ward/gone.png", ".hidden.png", "empty"}
    assert "symbolic links" in reasons["archive/pipe.png"]
    assert "No such file" in reasons["archive/gone.png"]
    assert "not a readable file" in reasons["ward/gone.png"]
    assert "rename it" in reasons[".hidden.png"]
    assert "no files there" in reasons["empty"]
    assert all(
        str(file) in sentence for file, sentence in zip(chosen.refused, submission.refusals(chosen), strict=True)
    )
    left = {file.name for file in (tmp_path / "home" / "submitted").rglob("*") if file.is_file()}
    assert left == {MARKER, *(file.name for file in good)}


def test_a_file_is_held_by_the_folder_in_which_it_lies_when_links_are_followed(
    database: Database, known: Mapping[str, Source], tmp_path: Path
) -> None:
    put(tmp_path / "ward" / "a.png")
    put(tmp_path / "archive" / "b.png")
    (tmp_path / "ward" / "old").symlink_to(tmp_path / "archive")
    (tmp_path / "shortcut").symlink_to(tmp_path / "ward")
    out, into = tmp_path / "ward" / "old" / "b.png", tmp_path / "shortcut" / "a.png"
    submission.submit_all(database, known, submission.find_files(known, [out, into]))
    assert [(row.source, Path(row.path).name, row.origin) for row in sightings(database)] == [
        ("submitted", "b.png", str(out)),
        ("ward", "a.png", None),
    ]


def test_a_file_that_was_replaced_and_restored_is_submitted_whatever_became_of_it_meanwhile(
    database: Database, known: Mapping[str, Source], tmp_path: Path
) -> None:
    file = put(tmp_path / "ward" / "a.png")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    first = submission.submit(database, known, file, NOW)
    file.rename(tmp_path / "aside.png")
    put(file)
    second = submission.submit(database, known, file, NOW)
    (tmp_path / "aside.png").rename(file)
    assert submission.submit(database, known, file, NOW) == first, "it waits still, as it is again"
    with database.write() as session:
        states = {first: SightingState.SUPERSEDED, second: SightingState.QUARANTINED}
        for sighting, state in states.items():
            session.execute(update(Sighting).where(Sighting.id == sighting).values(state=state, finished_at=NOW))
    third = submission.submit(database, known, file, NOW)
    assert third not in (first, second)
    assert submission.submit(database, known, file, NOW) == third


def test_a_file_that_changed_before_it_was_read_is_waited_for_as_it_is_then(
    database: Database, known: Mapping[str, Source], tmp_path: Path
) -> None:
    live(database)
    file = put(tmp_path / "ward" / "a.png")
    first = submission.submit(database, known, file, NOW)
    file.write_bytes(b"another image")
    second = submission.submit(database, known, file, NOW)
    with database.write() as session:
        session.execute(update(Sighting).where(Sighting.id == first).values(state=SightingState.SUPERSEDED))
    waiting = submission.wait(database, [first])
    assert next(waiting) == 0
    finish(database, second)
    assert list(waiting) == [1]
    with database.read() as session:
        assert [row.state for row in outcomes(session, [first])] == ["quarantined"]


def test_a_file_in_a_source_is_registered_where_it_lies_and_in_its_lane(
    database: Database, known: Mapping[str, Source], tmp_path: Path
) -> None:
    file = put(tmp_path / "ward" / "sub" / "a.png")
    first, again = (submission.submit(database, known, file, NOW) for _ in range(2))
    assert first == again
    (row,) = sightings(database)
    assert (row.source, row.path, row.origin, row.lane) == ("ward", "sub/a.png", None, "stat")
    assert len(jobs(database)) == 1


def test_a_file_in_no_source_is_copied_and_keeps_where_it_came_from(
    database: Database, known: Mapping[str, Source], tmp_path: Path
) -> None:
    file = put(tmp_path / "archive" / "a.png")
    submission.submit(database, known, file, NOW)
    (row,) = sightings(database)
    assert (row.source, row.origin, Path(row.path).name) == ("submitted", str(file), "a.png")
    assert known["submitted"].local_copy(row.path).read_bytes() == b"an image"


def test_what_is_no_file_is_said_in_a_sentence(database: Database, known: Mapping[str, Source], tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    with pytest.raises(InvalidRequest, match=r"gone\.png: this is not a readable file"):
        submission.submit_all(database, known, submission.find_files(known, [tmp_path / "ward" / "gone.png"]))
    assert sightings(database) == []


def live(database: Database) -> None:
    with database.write() as session:
        now = datetime.now(UTC)
        session.add(Worker(host="h", pid=1, device="CPU", started_at=now, heartbeat_at=now))


def test_without_a_worker_nothing_is_submitted(database: Database, chosen: Settings) -> None:
    with pytest.raises(ServiceUnavailable, match="No worker is running"):
        submission.check(chosen, database)
    live(database)
    submission.check(chosen, database)


@pytest.fixture
def submitted(database: Database, known: Mapping[str, Source], tmp_path: Path) -> list[int]:
    return [
        submission.submit(database, known, put(tmp_path / "archive" / name), NOW)
        for name in ("a.png", "b.png", "c.png")
    ]


def finish(database: Database, *ids: int) -> None:
    with database.write() as session:
        final = {"state": SightingState.QUARANTINED, "reason": "blank", "finished_at": NOW}
        session.execute(update(Sighting).where(Sighting.id.in_(ids)).values(**final))


def test_waiting_tells_how_many_are_final_until_all_are(database: Database, submitted: list[int]) -> None:
    live(database)
    waiting = submission.wait(database, submitted)
    assert next(waiting) == 0
    finish(database, submitted[1])
    assert next(waiting) == 1
    finish(database, *submitted)
    assert list(waiting) == [3]
    with database.read() as session:
        rows = outcomes(session, submitted)
    assert sorted(Path(row.path).name for row in rows) == ["a.png", "b.png", "c.png"]
    assert {(row.state, row.reason, row.label) for row in rows} == {("quarantined", "blank", None)}


def test_waiting_ends_when_an_image_was_put_off_for_minutes_and_says_why(
    database: Database, submitted: list[int]
) -> None:
    live(database)
    finish(database, *submitted[1:])
    waiting = submission.wait(database, submitted)
    assert next(waiting) == 2
    with database.write() as session:
        put_off = {"problem": "no permission to read it", "attempt": MAX_ATTEMPTS}
        session.execute(update(Job).where(Job.sighting_id == submitted[0]).values(**put_off))
    assert list(waiting) == [3]
    with database.read() as session:
        reasons = {row.state: row.reason for row in outcomes(session, submitted)}
    assert reasons == {"quarantined": "blank", "waiting": "no permission to read it"}


def test_waiting_ends_when_no_worker_lives_on(
    database: Database, submitted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "QUIET_SECONDS", 0)
    with pytest.raises(ServiceUnavailable, match="3 images still wait"):
        list(submission.wait(database, submitted))
