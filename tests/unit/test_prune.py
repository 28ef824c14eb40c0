"""What `db prune` deletes, and what it leaves."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update

from actions import pruning
from cli.prune import prune
from courier.events import EventWatch
from shared.base import settings
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.base.source_settings import AuditShare, FolderSettings
from shared.database import (
    AuditEntry,
    AuditSample,
    Database,
    DeadLetter,
    DicomHeader,
    Job,
    ModelVersion,
    OutboxRow,
    Prediction,
    Promotion,
    Review,
    Sighting,
    SightingState,
)
from shared.ledger import outbox, retention, work
from shared.ledger.register import register
from shared.ledger.reporting import Wanted
from shared.ledger.work import Identifiers, PutOff, Quarantined, Screened
from shared.sources.folder import looking
from shared.sources.folder.source import FolderSource
from tests.unit.steps import claim, drop, file, finish, in_hand, rows, screened, send_all, sightings

LONG_AGO = datetime.now(UTC) - timedelta(days=100)


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    folder = tmp_path / "ward"
    folder.mkdir()
    (folder / MARKER).touch()
    return folder


@pytest.fixture
def chosen(database: Database, tmp_path: Path, ward: Path) -> Settings:
    return settings.load(tmp_path, sources={"ward": FolderSettings(path=ward)})


def count(database: Database, table: type) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def numbers(capsys: pytest.CaptureFixture[str]) -> tuple[list[int], str]:
    """Jobs, replaced, gone, letters, predictions, headers, reviews, as the table shows them; and all the output.

    The last line, of events, has a test of its own.
    """
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("│")]
    return [int(line.split("│")[2].replace(",", "")) for line in lines][:7], said


def paths(database: Database) -> list[str]:
    return [sighting.path for sighting in sightings(database)]


def long_done(database: Database, *names: str, content: str = "a") -> None:
    """Files that were screened long ago, each with the same content."""
    claimed = in_hand(database, *names)
    finish(database, *(screened(each, content=content) for each in claimed), now=LONG_AGO)


def word(label: str, content: str | None, sighting: int) -> Review:
    return Review(
        sha256=content, sighting_id=sighting, label=label, reviewer="Dr. A", note=None, created_at=datetime.now(UTC)
    )


def test_an_audit_sample_outlives_its_sighting_while_another_has_its_content(
    database: Database, chosen: Settings, ward: Path
) -> None:
    claimed = in_hand(database, "a.png", "b.png", "gone.png")
    with database.write() as session:
        share = AuditShare(negatives=1, rest=1)
        outcomes = [screened(each, content=content) for each, content in zip(claimed, "abc", strict=True)]
        work.finish(session, outcomes, LONG_AGO, lambda _source: share)
    (ward / "new.png").touch()
    (ward / "b.png").touch()
    (again,) = in_hand(database, file("new.png", second=9))
    finish(database, screened(again, content="a"))
    prune(chosen, 30, dry_run=False)
    with database.read() as session:
        found = session.execute(select(AuditSample.sighting_id, AuditSample.sha256).order_by(AuditSample.sighting_id))
        assert [(row[0], row[1][0]) for row in found] == [(2, "b"), (4, "a")]


def test_a_dry_run_counts_what_the_real_one_then_deletes(
    database: Database, chosen: Settings, ward: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ward / "there.png").touch()
    there, gone, replaced = in_hand(database, "there.png", "gone.png", file("two.png", second=7))
    finish(
        database,
        screened(there, content="a"),
        Screened(gone, "b" * 64, "v1", 0.9, 0.5, "PNEUMONIA", identifiers=Identifiers(study_uid="1.2")),
        screened(replaced, content="c"),
        now=LONG_AGO,
    )
    drop(database, file("two.png", second=8))
    with database.write() as session:
        session.add(DeadLetter(body="{}", reason="odd", received_at=LONG_AGO))
        session.add(DeadLetter(body="{}", reason="odd", received_at=datetime.now(UTC)))
        session.add(word("NORMAL", "b" * 64, gone.sighting))
        session.add(word("NOT_READABLE", "b" * 64, gone.sighting))
    prune(chosen, 30, dry_run=True)
    told, said = numbers(capsys)
    assert told == [3, 1, 1, 1, 2, 1, 1]
    assert "would be deleted" in said
    assert [count(database, table) for table in (Sighting, Job, Prediction, DicomHeader)] == [4, 4, 3, 1]
    assert count(database, AuditEntry) == 0
    prune(chosen, 30, dry_run=False)
    assert numbers(capsys)[0] == told
    assert paths(database) == ["there.png", "two.png"]
    assert [count(database, table) for table in (Job, Prediction, DicomHeader, DeadLetter)] == [1, 1, 0, 1]
    assert count(database, Review) == 1, "a person's word on a content stays"
    prune(chosen, 30, dry_run=False)
    assert numbers(capsys)[0] == [0] * 7


def test_a_dry_run_shows_no_bars_that_count_what_is_deleted(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    long_done(database, "gone.png")
    prune(chosen, 30, dry_run=True)
    assert capsys.readouterr().err == ""
    prune(chosen, 30, dry_run=False)
    assert pruning.GONE in capsys.readouterr().err


def test_what_became_final_after_the_cutoff_stays(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(database, screened(in_hand(database, "new.png")[0]), now=datetime.now(UTC))
    prune(chosen, 30, dry_run=False)
    assert numbers(capsys)[0] == [0] * 7
    assert count(database, Job) == 1


def test_a_file_that_is_still_in_its_folder_keeps_its_row_and_its_prediction(
    database: Database, chosen: Settings, ward: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ward / "a.png").touch()
    long_done(database, "a.png", "gone.png")
    prune(chosen, 30, dry_run=False)
    told, said = numbers(capsys)
    assert told == [2, 0, 1, 0, 0, 0, 0], "the content is seen under the other name still"
    assert "1 old rows stay" in said and "it would be screened again" in said
    assert [row["label"] for row in rows(database)] == ["PNEUMONIA"]


def test_a_link_that_leads_nowhere_just_now_keeps_its_row(database: Database, chosen: Settings, ward: Path) -> None:
    (ward / "a.png").symlink_to(ward / "share" / "a.png")
    long_done(database, "a.png")
    prune(chosen, 30, dry_run=False)
    assert paths(database) == ["a.png"]


@pytest.mark.parametrize("trouble", ["unmounted", "not configured"])
def test_a_folder_that_this_host_cannot_see_keeps_its_rows_and_is_told(
    database: Database, chosen: Settings, ward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    long_done(database, "a.png", "b.png")
    if trouble == "unmounted":
        (ward / MARKER).unlink()
    else:
        chosen = settings.load(tmp_path)
    prune(chosen, 30, dry_run=False)
    told, said = numbers(capsys)
    assert told == [2, 0, 0, 0, 0, 0, 0]
    assert paths(database) == ["a.png", "b.png"]
    assert "2 old rows of the source 'ward' stay" in said and MARKER in said


def test_a_share_that_goes_away_during_the_look_loses_no_row(
    database: Database, chosen: Settings, ward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_done(database, "a.png")

    def unmount(_: Path) -> bool:
        (ward / MARKER).unlink(missing_ok=True)
        return False

    monkeypatch.setattr(FolderSource, "reach", None)  # it is asked in this process, which the test has changed
    monkeypatch.setattr(looking, "_is_there", unmount)
    prune(chosen, 30, dry_run=False)
    assert paths(database) == ["a.png"]


def test_waiting_sightings_and_open_jobs_are_never_touched(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    long_done(database, "rescreened.png")
    (put_off,) = in_hand(database, file("put-off.png", second=1))
    finish(database, PutOff(put_off, "out of reach", LONG_AGO), now=LONG_AGO)
    (sighting,) = [s.id for s in sightings(database) if s.path == "rescreened.png"]
    with database.write() as session:
        session.add(
            Job(sighting_id=sighting, model_version="v2", lane="background", state="unsent", created_at=LONG_AGO)
        )
    drop(database, file("waiting.png", second=3), now=LONG_AGO)
    prune(chosen, 30, dry_run=False)
    assert numbers(capsys)[0] == [1, 0, 0, 0, 0, 0, 0]
    assert paths(database) == ["rescreened.png", "put-off.png", "waiting.png"]
    assert count(database, Job) == 3


def test_a_superseded_sighting_does_not_replace_the_result_before_it(
    database: Database, chosen: Settings, ward: Path
) -> None:
    (ward / "a.png").touch()
    long_done(database, "a.png")
    drop(database, file("a.png", second=9))
    with database.write() as session:
        session.execute(
            update(Sighting)
            .where(Sighting.revision.endswith(":9"))
            .values(state=SightingState.SUPERSEDED, finished_at=LONG_AGO)
        )
        session.execute(delete(Job).where(Job.state != "finished"))
    before = rows(database)
    prune(chosen, 30, dry_run=False)
    assert rows(database) == before
    assert [sighting.state for sighting in sightings(database)] == ["done"]


def test_an_older_sighting_does_not_become_the_result_again(database: Database, chosen: Settings) -> None:
    (late,) = in_hand(database, file("a.png", second=1))
    drop(database, file("a.png", second=2))
    (newest,) = claim(database, send_all(database))
    finish(database, Quarantined(newest, "blank"), now=LONG_AGO)
    finish(database, screened(late), now=datetime.now(UTC))
    before = rows(database)
    assert [row["state"] for row in before] == ["quarantined"]
    prune(chosen, 30, dry_run=False)
    assert rows(database) == before


def test_more_rows_than_a_transaction_holds_are_all_deleted(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_ROWS", 10)
    claimed = in_hand(database, *(f"{number}.png" for number in range(35)))
    finish(
        database,
        *(Screened(c, f"{n:064x}", "v1", 0.9, 0.5, "PNEUMONIA") for n, c in enumerate(claimed)),
        now=LONG_AGO,
    )
    prune(chosen, 30, dry_run=True)
    assert numbers(capsys)[0] == [35, 0, 35, 0, 35, 0, 0]
    prune(chosen, 30, dry_run=False)
    assert numbers(capsys)[0] == [35, 0, 35, 0, 35, 0, 0]
    assert [count(database, table) for table in (Sighting, Job, Prediction)] == [0, 0, 0]


def test_a_name_that_is_not_valid_utf8_is_found_in_its_folder(database: Database, chosen: Settings, ward: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    (ward / name).touch()
    long_done(database, name)
    prune(chosen, 30, dry_run=False)
    assert paths(database) == ["caf\\xe9.png"]


def test_copies_that_screen_made_count_as_gone_only_where_they_would_be_seen(
    database: Database, chosen: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "submitted").mkdir()
    with database.write() as session:
        register(session, "submitted", "routine", [file("2026-01-01/x/a.png")], LONG_AGO, origin="/archive/a.png")
    finish(database, screened(claim(database, send_all(database))[0]), now=LONG_AGO)
    prune(chosen, 30, dry_run=False)
    _, said = numbers(capsys)
    if database.engine.dialect.name == "sqlite":
        assert paths(database) == []
    else:  # the copy may lie in another host's home
        assert paths(database) == ["2026-01-01/x/a.png"]
        assert "'submitted'" in said


def test_events_that_were_told_are_deleted_once_they_are_old_and_never_told_again(
    database: Database, chosen: Settings
) -> None:
    hook = {"kind": "webhook", "url": "http://127.0.0.1:9", "secret": "a secret of some length"}
    hook["events"] = ["version_swapped"]
    telling = settings.load(chosen.home, destinations={"hook": hook})
    began = datetime.now(UTC) - timedelta(days=100)
    with database.write() as session:
        outbox.register_destinations(session, ["hook"], began)
        session.add(ModelVersion(version="v1", manifest_sha256="0" * 64, created_at=began))
    (wanted,) = [Wanted("hook", telling.destinations["hook"], began)]

    def look(now: datetime) -> int:
        return EventWatch(telling, database).look([wanted], now)

    for days in (0, 90):
        at = began + timedelta(days=days)
        with database.write() as session:
            session.add(Promotion(version="v1", promoted_by="Ada", promoted_at=at))
        assert look(at + timedelta(days=1)) == 1
    with database.write() as session:
        session.execute(update(OutboxRow).values(state="sent", settled_at=OutboxRow.created_at))
    prune(chosen, 1, dry_run=False)
    assert count(database, OutboxRow) == 1, "of late, though older than a day"
    assert look(datetime.now(UTC)) == 0


def test_a_prune_is_on_record_with_counts_alone(database: Database, chosen: Settings) -> None:
    long_done(database, "secret-name.png")
    prune(chosen, 30, dry_run=False)
    with database.read() as session:
        (entry,) = session.scalars(select(AuditEntry)).all()
    assert entry.action == "prune" and entry.actor
    assert entry.detail == (
        "older than 30 days: 1 finished jobs, 0 replaced sightings, 1 sightings whose file is gone, "
        "0 dead letters, 1 predictions, 0 DICOM headers, 0 reviews of deleted sightings alone, 0 events that were told"
    )


def test_a_sighting_taken_up_again_meanwhile_stays(database: Database) -> None:
    (bad,) = in_hand(database, "bad.png")
    finish(database, Quarantined(bad, "blank"), now=LONG_AGO)
    cutoff = datetime.now(UTC)
    with database.write() as session:
        found = [sighting.id for sighting in retention.results(session, cutoff, 0)]
        session.execute(update(Sighting).values(state=SightingState.WAITING, finished_at=None))
        assert found == [bad.sighting]
        assert retention.delete_old(session, found, cutoff) == (0, 0)
    assert paths(database) == ["bad.png"]


def test_a_word_on_a_deleted_sighting_is_on_no_later_one(database: Database, chosen: Settings) -> None:
    """SQLite numbers the next row like the last one that was deleted."""
    bad, good = in_hand(database, "bad.png", "good.png")
    finish(database, Quarantined(bad, "blank"), screened(good), now=LONG_AGO)
    with database.write() as session:
        session.add_all([word("NOT_READABLE", None, bad.sighting), word("NORMAL", "a" * 64, good.sighting)])
    prune(chosen, 30, dry_run=False)
    assert sightings(database) == []
    drop(database, "c.png", "d.png")
    assert [row["reviewed_word"] for row in rows(database)] == [None, None]
    with database.read() as session:
        assert [(r.sha256, r.sighting_id, r.label) for r in session.scalars(select(Review))] == [
            ("a" * 64, None, "NORMAL")
        ]
