"""What `db forget` erases, what it refuses, and what stays in the database's file."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import click
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from actions import draws, erasure, review_import, reviews
from actions.draws import Wanted
from actions.reviews import ReviewEntry
from cli import forget as forgetting
from cli.forget import forget
from shared import sources
from shared.base import settings
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.base.source_settings import FolderSettings
from shared.database import (
    AuditEntry,
    Database,
    DicomHeader,
    DrawMember,
    Job,
    ModelVersion,
    Prediction,
    Promotion,
    Review,
    ReviewLabel,
    ShadowRun,
    ShadowScore,
    Sighting,
)
from shared.database.tables import Base
from shared.ledger import retention, shadows, work
from shared.ledger.register import register
from shared.ledger.shadows import Score
from shared.ledger.work import Claimed, Identifiers, Quarantined, Screened
from tests.unit.steps import NOW, claim, drop, file, finish, in_hand, rows, screened, send_all, sightings

TABLES = (Sighting, Job, Prediction, DicomHeader, Review)


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    folder = tmp_path / "ward"
    folder.mkdir()
    (folder / MARKER).touch()
    return folder


@pytest.fixture
def chosen(database: Database, tmp_path: Path, ward: Path) -> Settings:
    return settings.load(tmp_path, sources={"ward": FolderSettings(path=ward)})


def counts(database: Database) -> list[int]:
    """Sightings, jobs, predictions, headers, reviews."""
    with database.read() as session:
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES]


def paths(database: Database) -> list[str]:
    return [sighting.path for sighting in sightings(database)]


def review(database: Database, content: str) -> None:
    with database.write() as session:
        session.add(Review(sha256=content, label="NORMAL", reviewer="Dr. A", note=None, created_at=NOW))


def patient(database: Database) -> None:
    """A picture under two names and with a history, and one of somebody else."""
    old, twin, other = in_hand(
        database, file("jane.dcm", second=1), file("copy.dcm", second=2), file("x.png", second=3)
    )
    identifiers = Identifiers("1.2.3", "1.2.3.4", "A-77", "key")
    finish(
        database,
        Screened(old, "a" * 64, "v1", 0.9, 0.5, "PNEUMONIA", identifiers=identifiers),
        screened(twin, content="a"),
        screened(other, content="c"),
    )
    drop(database, file("jane.dcm", second=4))
    finish(database, screened(claim(database, send_all(database))[0], content="b"))
    for content in ("a", "b", "c"):
        review(database, content * 64)


@pytest.mark.parametrize("target", ["jane.dcm", "A" * 64, "copy.dcm", "2"])
def test_a_file_its_history_and_its_contents_under_other_names_are_erased(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    patient(database)
    forget(chosen, target, "A. Nurse", yes=True)
    if target == "jane.dcm":
        assert paths(database) == ["x.png"]
        assert counts(database) == [1, 1, 1, 0, 1]
    else:  # the content that took the name later is another; 2 is the sighting_id of copy.dcm
        assert paths(database) == ["x.png", "jane.dcm"]
        assert counts(database) == [2, 2, 2, 0, 2]
    assert rows(database)[0]["reviewed_label"] == "NORMAL"
    said = capsys.readouterr().out
    assert "copy.dcm" in said, "what is erased is shown first"
    assert "Backups made before still hold these rows" in said
    assert ("VACUUM FULL" in said) == (database.engine.dialect.name == "postgresql")


@pytest.fixture
def two_folders(chosen: Settings, tmp_path: Path) -> Settings:
    """Settings with `ward` and `clinic`."""
    (tmp_path / "clinic").mkdir()
    (tmp_path / "clinic" / MARKER).touch()
    return settings.load(tmp_path, sources={**chosen.sources, "clinic": FolderSettings(path=tmp_path / "clinic")})


def two_of_one_name(database: Database, first: str | None, second: str | None) -> None:
    """`a.png` in the ward and in the clinic, with these contents, or not read yet."""
    for root, content in (("ward", first), ("clinic", second)):
        with database.write() as session:
            register(session, root, "routine", [file("a.png")], NOW)
        (claimed,) = claim(database, send_all(database))
        if content is not None:
            finish(database, screened(claimed, content=content))


@pytest.mark.parametrize("contents", [("a", "b"), (None, "b"), (None, None)])
def test_of_different_pictures_of_one_name_one_must_be_chosen(
    database: Database, two_folders: Settings, contents: tuple[str | None, str | None]
) -> None:
    two_of_one_name(database, *contents)
    with pytest.raises(WorkFailed, match="stands for several images") as error:
        forget(two_folders, "a.png", "A. Nurse", yes=True)
    for root, content in zip(("ward", "clinic"), contents, strict=True):
        assert f"{root}/a.png ({content * 64 if content else 'not read yet'})" in str(error.value)
    assert counts(database)[0] == 2
    assert counts(database)[0] == 2


def test_of_different_copies_of_one_file_one_must_be_chosen(database: Database, chosen: Settings) -> None:
    for number, content in enumerate("ab"):
        with database.write() as session:
            register(session, "submitted", "routine", [file(f"{number}/a.png")], NOW, origin="/archive/a.png")
        finish(database, screened(claim(database, send_all(database))[0], content=content))
    with pytest.raises(WorkFailed, match=r"several images: .* 1 is submitted/0/a\.png .* 2 is submitted/1/a\.png"):
        forget(chosen, "/archive/a.png", "A. Nurse", yes=True)
    forget(chosen, "submitted/0/a.png", "A. Nurse", yes=True)
    assert paths(database) == ["1/a.png"]


def test_a_name_that_could_be_a_path_or_a_folder_s_is_refused(database: Database, two_folders: Settings) -> None:
    two_of_one_name(database, "a", "b")
    with database.write() as session:
        register(session, "clinic", "routine", [file("ward/a.png", second=9)], NOW)
    with pytest.raises(WorkFailed, match="several images"):
        forget(two_folders, "ward/a.png", "A. Nurse", yes=True)
    forget(two_folders, "clinic/ward/a.png", "A. Nurse", yes=True)
    assert sorted((s.source, s.path) for s in sightings(database)) == [("clinic", "a.png"), ("ward", "a.png")]


def test_one_picture_under_one_name_in_two_folders_is_erased_in_both(database: Database, two_folders: Settings) -> None:
    two_of_one_name(database, "a", "a")
    forget(two_folders, "a.png", "A. Nurse", yes=True)
    assert counts(database) == [0] * 5


def test_a_picture_can_be_named_with_its_folder(database: Database, two_folders: Settings) -> None:
    two_of_one_name(database, "a", "b")
    for target in ("attic/a.png", "war/a.png"):
        with pytest.raises(WorkFailed, match="Nothing is known"):
            forget(two_folders, target, "A. Nurse", yes=True)
    forget(two_folders, "ward/a.png", "A. Nurse", yes=True)
    assert [(s.source, s.path) for s in sightings(database)] == [("clinic", "a.png")]


def test_that_something_was_erased_is_on_record_without_a_name_or_a_hash(database: Database, chosen: Settings) -> None:
    patient(database)
    forget(chosen, "jane.dcm", "A. Nurse", yes=True)
    with database.read() as session:
        (entry,) = session.scalars(select(AuditEntry)).all()
    assert (entry.actor, entry.action) == ("A. Nurse", "forget")
    assert entry.detail == "3 sightings, 3 jobs, 2 predictions, 1 DICOM headers, 2 reviews, 0 copies"


def test_what_nobody_knows_cannot_be_forgotten(database: Database, chosen: Settings) -> None:
    patient(database)
    for target in ("joe.dcm", "f" * 64, "jane.dc%"):
        with pytest.raises(WorkFailed, match="Nothing is known"):
            forget(chosen, target, "A. Nurse", yes=True)
    with pytest.raises(InvalidRequest, match="--by NAME"):
        forget(chosen, "jane.dcm", " ", yes=True)
    assert counts(database) == [4, 4, 3, 1, 3]


def test_words_on_a_content_without_a_sighting_can_be_forgotten(database: Database, chosen: Settings) -> None:
    review(database, "d" * 64)
    forget(chosen, "d" * 64, "A. Nurse", yes=True)
    assert counts(database) == [0] * 5


def test_without_a_yes_nothing_is_erased(database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    patient(database)

    def refuse(question: str, abort: bool) -> None:
        assert "Erase all of this" in question and abort
        raise click.Abort

    monkeypatch.setattr(forgetting.typer, "confirm", refuse)
    with pytest.raises(click.Abort):
        forget(chosen, "jane.dcm", "A. Nurse", yes=False)
    assert counts(database) == [4, 4, 3, 1, 3]


@pytest.mark.parametrize("name", ["jane.dcm", "copy.dcm"])
def test_a_picture_that_is_still_in_its_folder_must_be_deleted_first(
    database: Database, chosen: Settings, ward: Path, name: str
) -> None:
    patient(database)
    (ward / name).touch()
    with pytest.raises(WorkFailed, match=rf"{name}\. Delete it there first"):
        forget(chosen, "jane.dcm", "A. Nurse", yes=True)
    assert counts(database) == [4, 4, 3, 1, 3]
    (ward / name).unlink()
    forget(chosen, "jane.dcm", "A. Nurse", yes=True)
    assert paths(database) == ["x.png"]


def test_another_picture_that_took_the_name_may_stay_once_it_was_read(
    database: Database, chosen: Settings, ward: Path
) -> None:
    (ward / "a.png").touch()
    finish(database, screened(in_hand(database, "a.png")[0], content="a"))
    drop(database, file("a.png", second=9))
    with pytest.raises(WorkFailed, match="is still there"):  # nobody knows yet what it is
        forget(chosen, "a" * 64, "A. Nurse", yes=True)
    finish(database, screened(claim(database, send_all(database))[0], content="b"))
    forget(chosen, "a" * 64, "A. Nurse", yes=True)
    assert [row["sha256"] for row in rows(database, "results_history")] == ["b" * 64]


@pytest.mark.parametrize("trouble", ["unmounted", "not configured"])
def test_a_folder_that_cannot_be_seen_may_hold_the_file_still(
    database: Database, chosen: Settings, ward: Path, tmp_path: Path, trouble: str
) -> None:
    patient(database)
    if trouble == "unmounted":
        (ward / MARKER).unlink()
    else:
        chosen = settings.load(tmp_path)
    with pytest.raises(WorkFailed, match=r"cannot see whether the file is still in ward.*Run this where"):
        forget(chosen, "jane.dcm", "A. Nurse", yes=True)
    assert counts(database) == [4, 4, 3, 1, 3]


@pytest.mark.parametrize("target", ["2026-05-04/f00/a.png", "/archive/a.png"])
def test_a_copy_that_screen_made_is_deleted_with_its_folder(
    database: Database, chosen: Settings, tmp_path: Path, target: str
) -> None:
    submitted = tmp_path / "submitted"
    for folder in ("f00", "f01"):
        (submitted / "2026-05-04" / folder).mkdir(parents=True)
        (submitted / "2026-05-04" / folder / "a.png").write_bytes(folder.encode())
        with database.write() as session:
            path, origin = f"2026-05-04/{folder}/a.png", "/archive/a.png" if folder == "f00" else "/other/a.png"
            register(session, "submitted", "routine", [file(path)], NOW, origin=origin)
    forget(chosen, target, "A. Nurse", yes=True)
    assert [str(path.relative_to(submitted)) for path in submitted.rglob("*.png")] == ["2026-05-04/f01/a.png"]
    assert not (submitted / "2026-05-04" / "f00").exists()
    assert paths(database) == ["2026-05-04/f01/a.png"]


def test_a_copy_behind_a_link_out_of_the_home_is_not_deleted(
    database: Database, chosen: Settings, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.png").touch()
    (tmp_path / "submitted").mkdir()
    (tmp_path / "submitted" / "day").symlink_to(outside)
    with database.write() as session:
        register(session, "submitted", "routine", [file("day/a.png")], NOW, origin="/archive/a.png")
    with pytest.raises(WorkFailed, match="not ours to delete"):
        forget(chosen, "day/a.png", "A. Nurse", yes=True)
    assert (outside / "a.png").exists()
    assert counts(database)[0] == 1


def test_words_on_an_image_that_could_not_be_read_are_erased_with_it(database: Database, chosen: Settings) -> None:
    bad, other = in_hand(database, "bad.png", "other.png")
    finish(database, Quarantined(bad, "blank"), Quarantined(other, "blank"))
    with database.write() as session:
        for claimed in (bad, other):
            values = {"sha256": None, "sighting_id": claimed.sighting, "reviewer": "Dr. A", "note": "Jane Doe"}
            session.add(Review(label="NOT_READABLE", created_at=NOW, **values))
    forget(chosen, "bad.png", "A. Nurse", yes=True)
    with database.read() as session:
        assert session.scalars(select(Review.sighting_id)).all() == [other.sighting]
        detail = session.scalar(select(AuditEntry.detail))
    assert detail == "1 sightings, 1 jobs, 0 predictions, 0 DICOM headers, 1 reviews, 0 copies"


def test_words_on_a_file_that_was_read_but_not_screened_are_counted_before_they_are_erased(
    database: Database, chosen: Settings
) -> None:
    (bad,) = in_hand(database, "bad.png")
    finish(database, Quarantined(bad, "blank", "a" * 64))
    with database.write() as session:
        word = {"sha256": None, "sighting_id": bad.sighting, "reviewer": "Dr. A"}
        session.add(Review(label="NOT_READABLE", created_at=NOW, **word))
    assert erasure.plan(database, sources.build(chosen), "bad.png").traces.reviews == 1


def test_a_copy_stays_if_the_file_was_seen_again_before_the_erasing(
    database: Database, chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "submitted" / "day" / "a.png"
    copy.parent.mkdir(parents=True)
    copy.touch()

    def submit(second: int) -> None:
        with database.write() as session:
            register(session, "submitted", "routine", [file("day/a.png", second=second)], NOW)

    submit(1)
    monkeypatch.setattr(forgetting.typer, "confirm", lambda *_, abort: submit(2))
    with pytest.raises(WorkFailed, match="seen again meanwhile"):
        forget(chosen, "day/a.png", "A. Nurse", yes=False)
    assert copy.exists()


def test_what_a_worker_has_in_hand_leaves_no_trace_when_it_finishes(database: Database, chosen: Settings) -> None:
    mine, other = in_hand(database, "mine.png", "other.png")
    forget(chosen, "mine.png", "A. Nurse", yes=True)
    identified = Screened(mine, "a" * 64, "v1", 0.9, 0.5, "PNEUMONIA", identifiers=Identifiers(study_uid="1.2"))
    counted = finish(database, identified, screened(other, content="b"))
    assert [outcome.claimed for outcome in counted] == [other]
    assert paths(database) == ["other.png"]
    assert counts(database) == [1, 1, 1, 0, 0]


def test_a_message_about_an_erased_file_is_dropped(database: Database, chosen: Settings) -> None:
    drop(database, "a.png")
    message = send_all(database)
    forget(chosen, "a.png", "A. Nurse", yes=True)
    assert claim(database, message) == []


def test_a_finish_that_is_under_way_is_waited_for(database: Database, chosen: Settings) -> None:
    """It would write a prediction for a content that was found to have none."""
    (claimed,) = in_hand(database, "a.png")
    thread = threading.Thread(target=forget, args=(chosen, "a.png", "A. Nurse", True))
    with database.write() as session:
        work.finish(session, [screened(claimed)], NOW)
        thread.start()
        thread.join(1.0)
        assert thread.is_alive()
    thread.join(30.0)
    assert counts(database) == [0] * 5


def add_shadow_score(session: Session, claimed: Claimed) -> None:
    run = session.scalars(select(ShadowRun.id)).one()
    shadows.add_scores(session, run, [Score(claimed.sighting, "a" * 64, 1.0, 0.7, 0.5, "PNEUMONIA")], NOW)


def draw_sample(session: Session, claimed: Claimed) -> None:
    draws.draw(session, Wanted("ward", seed=1, size=1), "Ada", NOW)


def add_word(session: Session, _claimed: Claimed) -> None:
    with suppress(WorkFailed):  # where the image was erased first
        reviews.review(session, ReviewEntry("a.png", ReviewLabel.NORMAL, "Dr. A"), NOW)


def add_words(session: Session, _claimed: Claimed) -> None:
    entries = [(1, ReviewEntry("a.png", ReviewLabel.NORMAL, "Dr. A"))]
    with suppress(WorkFailed):
        review_import.import_words(session, entries, NOW, manner=reviews.Manner())


def put_in_shadow(database: Database) -> None:
    """v1 is live, v2 in shadow."""
    with database.write() as session:
        for version in ("v1", "v2"):
            session.add(ModelVersion(version=version, manifest_sha256="0" * 64, created_at=NOW))
        session.flush()
        session.add(Promotion(version="v1", promoted_by="Ada", promoted_at=NOW))
        session.add(ShadowRun(model_version="v2", source="ward", share=1.0, started_by="Ada", started_at=NOW))


def about(database: Database, table: type[Base]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


WRITERS = [(add_shadow_score, ShadowScore), (draw_sample, DrawMember), (add_word, Review), (add_words, Review)]


@pytest.mark.parametrize(("add", "table"), WRITERS)
def test_a_score_a_draw_or_a_word_that_is_under_way_leaves_no_row_behind_the_erasing(
    database: Database,
    chosen: Settings,
    add: Callable[[Session, Claimed], None],
    table: type[Base],
) -> None:
    put_in_shadow(database)
    (claimed,) = in_hand(database, "a.png")
    finish(database, screened(claimed))
    thread = threading.Thread(target=forget, args=(chosen, "a.png", "A. Nurse", True))
    with database.write() as session:
        add(session, claimed)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(30.0)
    assert (counts(database), about(database, table)) == ([0] * 5, 0)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("add", "table"), WRITERS)
def test_a_score_a_draw_or_a_word_that_waited_for_the_erasing_adds_no_row(
    database: Database,
    add: Callable[[Session, Claimed], None],
    table: type[Base],
) -> None:
    put_in_shadow(database)
    (claimed,) = in_hand(database, "a.png")
    finish(database, screened(claimed))

    def write() -> None:
        with database.write() as session:
            add(session, claimed)

    thread = threading.Thread(target=write)
    with database.write() as session:
        retention.delete_sightings(session, [claimed.sighting])
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(30.0)
    assert about(database, table) == 0


def test_scores_of_a_content_without_a_sighting_can_be_forgotten(database: Database, chosen: Settings) -> None:
    put_in_shadow(database)
    (claimed,) = in_hand(database, "a.png")
    finish(database, screened(claimed))
    with database.write() as session:
        add_shadow_score(session, claimed)
        session.execute(update(ShadowScore).values(sighting_id=99))
        retention.delete_sightings(session, [claimed.sighting])
        retention.delete_contents(session, Prediction, ["a" * 64])
    forget(chosen, "a" * 64, "A. Nurse", yes=True)
    assert about(database, ShadowScore) == 0


def test_a_file_seen_again_before_the_erasing_is_asked_about_again(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient(database)
    monkeypatch.setattr(forgetting.typer, "confirm", lambda *_, abort: drop(database, file("jane.dcm", second=99)))
    with pytest.raises(WorkFailed, match="seen again meanwhile"):
        forget(chosen, "jane.dcm", "A. Nurse", yes=False)
    assert counts(database)[0] == 5


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_nothing_of_an_erased_file_is_left_in_the_bytes_of_sqlite(
    database: Database, chosen: Settings, tmp_path: Path
) -> None:
    # Rows grow and move to other pages while they are worked on, and leave copies of themselves behind.
    names = [f"ward-7/{'jane-doe' * 5}-{number * 7919 % 10_000:04d}.png" for number in range(2000)]
    for start in range(0, len(names), 100):
        claimed = in_hand(database, *names[start : start + 100])
        finish(
            database,
            *(
                Quarantined(c, "a reason that makes the row longer than it was", f"{c.job:064x}", Identifiers("1.2.9"))
                for c in claimed
            ),
        )
    current = tmp_path / "pneumoscreen.db"
    database.close()
    secret = max(names, key=lambda name: current.read_bytes().count(name.encode()))
    assert current.read_bytes().count(secret.encode()) > 2, "no copy beside those in the row and in the index"
    digest = next(s.sha256 for s in sightings(database) if s.path == secret)
    assert digest is not None
    with database.write() as session:
        session.add(Review(sha256=digest, label="NORMAL", reviewer="Dr. A", note="seen twice", created_at=NOW))
    forget(chosen, secret, "A. Nurse", yes=True)
    database.close()
    left = b"".join(path.read_bytes() for path in tmp_path.glob("pneumoscreen.db*") if not path.name.endswith("-shm"))
    for trace in (secret, digest, "seen twice"):
        assert trace.encode() not in left
    assert all(name.encode() in left for name in names if name != secret)
    with closing(sqlite3.connect(current)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_reader_that_keeps_the_log_from_being_emptied_is_told_of(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(database, "a.png")
    monkeypatch.setattr("shared.database.connection.SQLITE_BUSY_SECONDS", 0.2)
    reader = sqlite3.connect(database.engine.url.database or "", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sightings").fetchone()
    with pytest.raises(WorkFailed, match=r"The rows are erased, but .* reads the database"):
        forget(chosen, "a.png", "A. Nurse", yes=True)
    reader.close()
    assert counts(database) == [0] * 5
