"""The one screen for the person who watches the system, and its exit code."""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from redis import Redis
from sqlalchemy import text

from actions import operating_points, promotion
from cli.dismiss import dismiss
from cli.retry import retry
from cli.status import status
from producer.resolving import RESOLVE_EVERY, Look, Resolver
from shared import sources
from shared.base import host
from shared.base.errors import InvalidRequest, Removed, WorkFailed
from shared.base.filesystem import MARKER
from shared.base.home import announcement
from shared.base.settings import load
from shared.base.source_report import SourceReport, WatchedBy
from shared.database import (
    Database,
    DeadLetter,
    Job,
    ModelVersion,
    RunState,
    ShadowRun,
    ShadowScore,
    Sighting,
    TrainingRun,
    Worker,
)
from shared.database.refusals import REFUSES
from shared.ledger.source_states import write_states
from shared.ledger.work import MAX_ATTEMPTS, Claimed, PutOff, Quarantined
from tests.models import DAY, go_live, make_linear_version
from tests.points import add_point
from tests.servers import RedisServer
from tests.unit.steps import claim, drop, file, finish, in_hand, rows, screened, send_all

Status = Callable[..., tuple[int, str]]


@pytest.fixture
def look(
    tmp_path: Path,
    database: Database,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Status:
    """A system in which all is well: a broker, a live version, a worker that holds it; gives exit code and screen."""
    monkeypatch.setenv("COLUMNS", "200")
    go_live(database, make_linear_version(tmp_path / "models", "linear-1"))
    now = datetime.now(UTC)
    with database.write() as session:
        session.add(
            Worker(host="gpu-1", pid=7, device="cpu", model_version="linear-1", started_at=now, heartbeat_at=now)
        )

    def look(**settings: object) -> tuple[int, str]:
        code = 0
        try:
            status(load(tmp_path, broker_url=settings.pop("broker_url", redis_url), **settings))
        except typer.Exit as exit:
            code = exit.exit_code
        return code, capsys.readouterr().out

    return look


def test_where_all_is_well_the_exit_code_is_0_and_one_screen_tells_it(look: Status, database: Database) -> None:
    code, screen = look()
    assert code == 0, screen
    assert "Nothing needs a person." in screen
    assert "linear-1 is live since 2026-05-04 12:00 by test; last training 2026-05-04 12:00" in screen
    for word in ("GB free", "stat 0", "gpu-1", "last hour", "0 waiting"):
        assert word in screen
    assert len(screen.splitlines()) < 30


def test_a_live_version_whose_folder_is_gone_needs_a_person(look: Status, tmp_path: Path) -> None:
    (tmp_path / "models").rename(tmp_path / "away")
    code, screen = look()
    assert code == 1
    assert "the folder of linear-1 is out of reach" in " ".join(screen.split())


def test_rates_and_the_share_of_positives_are_those_of_what_was_finished_lately(
    look: Status, database: Database
) -> None:
    one, two, three = in_hand(database, "a", "b", "c")
    finish(database, screened(one, 0.9, content="a"), screened(two, 0.1, content="b"), Quarantined(three, "blank"))
    with database.write() as session:
        for sighting in session.query(Sighting):
            sighting.finished_at = datetime.now(UTC) - timedelta(minutes=30)
    lines = [line.replace("│", " ").split() for line in look()[1].splitlines() if "last " in line]
    assert ["last", "minute", "0", "0.00", "0", "0"] in lines
    assert ["last", "hour", "2", "0.00", "1", "50%", "1"] in lines


def test_quarantined_images_are_counted_by_reason(look: Status, database: Database) -> None:
    one, two, three = in_hand(database, "a", "b", "c")
    finish(database, Quarantined(one, "blank"), Quarantined(two, "blank"), Quarantined(three, "cut off"))
    rows = [line.replace("│", " ").split() for line in look()[1].splitlines()]
    assert ["blank", "2"] in rows
    assert ["cut", "off", "1"] in rows


def test_images_quarantined_within_a_day_need_a_person_until_somebody_sees_to_them(
    look: Status, database: Database, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    finish(database, Quarantined(in_hand(database, "old")[0], "blank"), now=now - timedelta(hours=25))
    assert look()[0] == 0, "it would stay red for ever"
    one, two = in_hand(database, "a", "b")
    finish(database, Quarantined(one, "blank"), Quarantined(two, "blank"), now=now - timedelta(hours=23))
    code, screen = look()
    assert code == 1
    assert "2 images were quarantined within a day: `pneumoscreen results --state quarantined` says why" in screen
    drop(database, file("a", size=11), now=now)
    code, screen = look()
    assert code == 1
    assert "Needs a person: 1 image was quarantined within a day" in screen, "the other was replaced"
    retry(load(tmp_path), ["b"], None, False)
    assert "within a day" not in look()[1], "it is screened again"


def test_a_dismissed_image_is_no_longer_reported_until_it_is_retried_and_fails_again(
    look: Status, database: Database, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    finish(database, *(Quarantined(one, "no image") for one in in_hand(database, "a.pdf", "b.pdf", "c.png")), now=now)
    dismiss(load(tmp_path), ["a.pdf"], None, "A. Nurse", "a letter")
    assert "2 images were quarantined within a day" in look()[1]
    dismiss(load(tmp_path), [], "no image", "A. Nurse", "letters")
    code, screen = look()
    assert (code, "Nothing needs a person." in screen) == (0, True)
    with database.read() as session:
        entries = session.execute(text("SELECT actor, action, detail FROM audit_log ORDER BY id")).all()
    assert entries == [("A. Nurse", "dismiss", "sighting 1: a letter"), ("A. Nurse", "dismiss", "2 images: letters")]
    assert {row["resolution"] for row in rows(database)} == {"dismissed"}
    retry(load(tmp_path), ["a.pdf"], None, False)
    assert [row["resolution"] for row in rows(database)] == [None, "dismissed", "dismissed"]
    finish(database, Quarantined(claim(database, send_all(database, now=now))[0], "no image"), now=now)
    assert "1 image was quarantined within a day" in look()[1]


@pytest.mark.parametrize(
    ("which", "matching", "by", "reason", "sentence"),
    [
        ([], None, "me", "a letter", "Say which"),
        (["a.pdf"], "letter", "me", "a letter", "Say which"),
        (["a.pdf"], None, " ", "a letter", "--by NAME"),
        (["a.pdf"], None, "me", " ", "--reason TEXT"),
    ],
)
def test_a_dismissal_says_which_images_who_says_so_and_why(
    database: Database, tmp_path: Path, which: list[str], matching: str | None, by: str, reason: str, sentence: str
) -> None:
    finish(database, Quarantined(in_hand(database, "a.pdf")[0], "no image"))
    with pytest.raises(InvalidRequest, match=sentence):
        dismiss(load(tmp_path), which, matching, by, reason)
    assert [row["resolution"] for row in rows(database)] == [None]


def test_only_what_is_quarantined_and_the_newest_of_its_path_is_dismissed(database: Database, tmp_path: Path) -> None:
    (old,) = in_hand(database, file("a.png", size=1))
    finish(database, Quarantined(old, "blank"))
    (new,) = in_hand(database, file("a.png", size=2))
    finish(database, screened(new))
    for which in (["a.png"], [str(old.sighting)]):
        with pytest.raises(WorkFailed, match="Nothing that is quarantined matches"):
            dismiss(load(tmp_path), which, None, "me", "history")


def test_an_image_whose_file_is_gone_needs_nobody_and_retry_says_so_truly(
    look: Status, database: Database, tmp_path: Path
) -> None:
    """It was read before, so "removed before it was read" would be untrue."""
    now = datetime.now(UTC)
    (claimed,) = in_hand(database, "a.png")
    finish(database, Quarantined(claimed, "blank", "a" * 64), now=now)
    retry(load(tmp_path), ["a.png"], None, False)
    finish(database, Quarantined(claim(database, send_all(database, now=now))[0], Removed.REASON), now=now)
    assert look()[0] == 0
    ((row),) = rows(database)
    assert (row["resolution"], row["reason"]) == ("removed", "the file is gone: it was removed from its source")
    with pytest.raises(WorkFailed, match="Nothing that is quarantined"):
        retry(load(tmp_path), [], None, True)


def test_what_is_deleted_after_it_was_quarantined_is_resolved_where_the_source_is_in_reach(
    look: Status, database: Database, tmp_path: Path
) -> None:
    ward = tmp_path / "ward"
    ward.mkdir()
    for name in ("a.pdf", "b.pdf", "inv\udcff.pdf"):
        (ward / name).touch()
    now = datetime.now(UTC)
    images = in_hand(database, "a.pdf", "b.pdf", "inv\udcff.pdf")
    finish(database, *(Quarantined(image, "no image") for image in images), now=now)
    resolver = Resolver(database, sources.build(load(tmp_path, sources={"ward": {"kind": "folder", "path": ward}})))
    (ward / "a.pdf").unlink()
    (ward / "inv\udcff.pdf").unlink()

    def resolve(now: float) -> None:
        """Begins looks if it is time to, and takes what they found."""
        for _ in range(2):
            resolver.resolve(now)
            for begun in [thread for thread in threading.enumerate() if isinstance(thread, Look)]:
                begun.join()
        resolver.resolve(now)

    resolve(0.0)
    assert {row["resolution"] for row in rows(database)} == {None}, "without its marker the share may be away"
    (ward / MARKER).touch()
    resolve(RESOLVE_EVERY - 1)
    assert {row["resolution"] for row in rows(database)} == {None}, "it is too early to look again"
    resolve(RESOLVE_EVERY)
    assert {row["path"]: row["resolution"] for row in rows(database)} == {
        "a.pdf": "removed",
        "b.pdf": None,
        "inv\\xff.pdf": "removed",
    }
    (ward / "b.pdf").unlink()
    resolve(2 * RESOLVE_EVERY)
    assert look()[0] == 0


@pytest.mark.parametrize(
    ("lane", "minutes", "code"),
    [("background", 1000, 0), ("routine", 10, 0), ("routine", 20, 1), ("stat", 0.5, 0), ("stat", 2, 1)],
)
def test_an_image_that_waits_too_long_for_its_lane_needs_a_person(
    look: Status, database: Database, lane: str, minutes: float, code: int
) -> None:
    drop(database, file("a.png"))
    with database.write() as session:
        for job in session.query(Job):
            job.lane, job.created_at = lane, datetime.now(UTC) - timedelta(minutes=minutes)
    found, screen = look()
    assert found == code
    assert (f"oldest image in the {lane} lane waits for" in screen) == bool(code)
    assert "Backlog" in screen
    assert "oldest waits for" in screen


def test_a_system_without_workers_needs_a_person(look: Status, database: Database) -> None:
    with database.write() as session:
        for worker in session.query(Worker):
            worker.heartbeat_at -= timedelta(minutes=1)
    code, screen = look()
    assert code == 1
    assert "no worker process" in screen


def test_while_up_is_starting_a_worker_that_is_not_there_yet_needs_nobody(
    look: Status, database: Database, tmp_path: Path
) -> None:
    with database.write() as session:
        session.query(Worker).delete()
    file = announcement(tmp_path)
    file.parent.mkdir()
    file.touch()
    code, screen = look()
    assert code == 0, screen
    assert re.search(r"the worker is starting: `up` began \d s ago", screen)
    for age in (timedelta(minutes=3), -timedelta(days=1)):
        began = (datetime.now(UTC) - age).timestamp()
        os.utime(file, (began, began))
        code, screen = look()
        assert code == 1, age
        assert "no worker process" in screen


def test_a_worker_that_is_silent_for_over_ten_seconds_is_marked(look: Status, database: Database) -> None:
    now = datetime.now(UTC)
    silences = {7: 8, 8: 20}
    with database.write() as session:
        session.query(Worker).delete()
        for pid, seconds in silences.items():
            times = {"started_at": now - timedelta(seconds=90), "heartbeat_at": now - timedelta(seconds=seconds)}
            session.add(Worker(host="gpu-1", pid=pid, device="cpu", model_version="linear-1", **times))
    code, screen = look()
    assert code == 0
    assert "up for" in screen
    heard, silent = (line for line in screen.splitlines() if "gpu-1" in line)
    assert "silent" not in heard
    assert re.search(r"silent for 2\d s", silent)


def test_a_worker_that_refused_a_version_needs_a_person(look: Status, database: Database) -> None:
    with database.write() as session:
        for worker in session.query(Worker):
            worker.error = "the manifest differs"
    code, screen = look()
    assert code == 1
    assert "gpu-1, process 7: the manifest differs" in screen


def worker_says(database: Database, error: str, version: str | None) -> None:
    with database.write() as session:
        for worker in session.query(Worker):
            worker.error, worker.model_version = error, version


def test_of_a_refused_live_version_the_way_back_is_told(look: Status, database: Database, tmp_path: Path) -> None:
    go_live(database, make_linear_version(tmp_path / "models", "linear-2"))
    worker_says(database, "the model version linear-2 is refused: weights.npy is damaged", "linear-1")
    code, screen = look()
    assert code == 1
    assert "process 7: the model version linear-2 is refused: weights.npy is damaged. linear-1 goes on" in screen
    assert "pneumoscreen models rollback --by NAME --reason TEXT" in screen
    worker_says(database, "the model version linear-2 is refused: weights.npy is damaged", None)
    assert "It screens nothing: restore that version's folder" in look()[1]
    worker_says(database, "upgrade the worker", "linear-1")
    assert "rollback" not in look()[1], "it complains of something else"


def begin(database: Database, **values: object) -> None:
    """A training run, an hour ago."""
    now = datetime.now(UTC)
    row = {"architecture": "tiny7", "cause": "schedule", "fence": 1, "reviews": 0, "heartbeat_at": now}
    with database.write() as session:
        session.add(TrainingRun(**row | {"started_at": now - timedelta(hours=1)} | values))


def test_a_run_under_way_is_shown_with_its_progress(look: Status, database: Database, tmp_path: Path) -> None:
    begin(database, state=RunState.RUNNING)
    code, screen = look()
    assert code == 0
    assert "training run 1 (tiny7, schedule, since " in screen
    assert "is under way\n" in screen
    for name, epochs in (("tiny7-40-1-0123abcd", 3), ("tiny7-40-2-0123abcd", 9)):
        (tmp_path / "training" / name).mkdir(parents=True)
        (tmp_path / "training" / name / "epochs.jsonl").write_text("{}\n" * epochs)
    assert "is under way, 3 of at most 40 epochs done\n" in look()[1]


def test_a_run_on_which_nobody_works_needs_a_person(look: Status, database: Database) -> None:
    begin(database, state=RunState.RUNNING, heartbeat_at=datetime.now(UTC) - timedelta(minutes=10))
    code, screen = look()
    assert code == 1
    assert "no trainer works on it: `pneumoscreen trainer`" in screen


def test_the_last_run_is_shown_with_its_version_and_verdict(look: Status, database: Database, tmp_path: Path) -> None:
    over = datetime(2026, 5, 4, 14, 0, tzinfo=UTC)
    begin(database, state=RunState.PUBLISHED, version="linear-1", finished_at=over)
    code, screen = look()
    assert (code, "ended 2026-05-04 14:00: linear-1 passed the gate and went live\n" in screen) == (0, True)
    begin(database, state=RunState.REJECTED, version="linear-2", finished_at=over)
    row = go_live(database, make_linear_version(tmp_path / "models", "linear-2"))
    with database.write() as session:
        promotion.reject(session, row.version, "trainer", over, '{"failed": ["Its recall is 0.9."]}')
    code, screen = look()
    assert (code, "ended 2026-05-04 14:00: linear-2 was rejected. Its recall is 0.9.\n" in screen) == (0, True)
    assert "training run 1" not in screen


def test_a_run_that_failed_needs_a_person_until_the_next_one_is_under_way(look: Status, database: Database) -> None:
    over = datetime.now(UTC) - timedelta(minutes=30)
    begin(database, state=RunState.FAILED, problem="the labelled folder is empty", finished_at=over)
    code, screen = look()
    assert code == 1
    assert ") failed: the labelled folder is empty. The live version stays." in screen
    assert "`pneumoscreen train --data DIR`" in screen
    begin(database, state=RunState.RUNNING)
    code, screen = look()
    assert code == 0
    assert "ended" in screen and "failed" in screen


def test_a_broker_out_of_reach_needs_a_person(look: Status) -> None:
    code, screen = look(broker_url="redis://127.0.0.1:9/0")
    assert code == 1
    assert "broker is out of reach" in screen


def test_a_broker_that_refuses_to_store_anything_needs_a_person(look: Status) -> None:
    server = RedisServer()
    try:
        with Redis.from_url(server.url) as redis:
            redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        code, screen = look(broker_url=server.url)
    finally:
        server.close()
    assert code == 1
    assert "Broker    refuses to work, messages: stat 0" in screen
    assert "it is a read-only replica" in " ".join(screen.split())


def test_what_the_database_refuses_needs_a_person_at_once(look: Status, database: Database) -> None:
    (claimed,) = in_hand(database, "a.jpg")
    finish(database, PutOff(claimed, f"{REFUSES}permission denied for table screenings", datetime.now(UTC)))
    code, screen = look()
    assert code == 1
    assert "permission denied for table screenings (first: a.jpg)" in screen


def test_a_disk_that_runs_low_needs_a_person(look: Status) -> None:
    code, screen = look(min_free_disk=10**18)
    assert code == 1
    assert "min_free_disk" in screen


def test_a_folder_whose_marker_cannot_be_seen_needs_a_person(look: Status, database: Database, tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    folders = {"ward": {"path": tmp_path / "ward"}}
    code, screen = look(sources=folders)
    assert code == 1
    assert f"the source ward ({tmp_path / 'ward'}) is out of reach" in screen
    (tmp_path / "ward" / MARKER).touch()
    with database.write() as session:
        write_states(session, host.name(), datetime.now(UTC), {"ward": SourceReport(WatchedBy.EVENTS)})
    assert look(sources=folders)[0] == 0


def put_off_after(database: Database, tries: int, *claimed: Claimed) -> None:
    """Put images off as after so many attempts, three minutes after they came."""
    now = datetime.now(UTC)
    finish(database, *(PutOff(one, "no permission to read it", now) for one in claimed))
    with database.write() as session:
        for job in session.query(Job).filter(Job.problem.is_not(None)):
            job.created_at, job.tries = now - timedelta(minutes=3), tries


def test_images_put_off_need_a_person_once_the_back_off_is_at_its_longest(look: Status, database: Database) -> None:
    one, two = in_hand(database, "ward-7/b.jpg", "ward-7/a.jpg")
    put_off_after(database, MAX_ATTEMPTS - 1, one, two)
    line = "2 images wait for 3 min: no permission to read it (first: ward-7/b.jpg)\n"
    code, screen = look()
    assert code == 0, screen
    assert f"Retried automatically: {line}" in screen
    with database.write() as session:
        session.query(Job).filter(Job.sighting_id == one.sighting).one().tries += 1
    code, screen = look()
    assert code == 1
    assert f"Needs a person: {line}" in screen
    send_all(database, now=datetime.now(UTC))
    assert f"Needs a person: {line}" in look()[1], "it is only being tried again"


def test_a_single_image_that_waits_is_told_in_the_singular(look: Status, database: Database) -> None:
    put_off_after(database, MAX_ATTEMPTS, *in_hand(database, "a.jpg"))
    assert "1 image waits for 3 min: no permission to read it (first: a.jpg)" in look()[1]


def test_messages_of_the_last_day_that_were_not_understood_need_a_person(look: Status, database: Database) -> None:
    now = datetime.now(UTC)
    letters = [DeadLetter(body="{}", reason="no schema", received_at=now - timedelta(days=days)) for days in (0, 2)]
    with database.write() as session:
        session.add_all(letters)
    code, screen = look()
    assert code == 1
    assert "1 message of the last day was not understood" in screen


def test_a_database_without_a_live_version_needs_a_person(look: Status, database: Database) -> None:
    from shared.database import ModelVersion, Promotion

    with database.write() as session:
        session.query(Promotion).delete()
        session.query(ModelVersion).delete()
    code, screen = look()
    assert code == 1
    assert "no model version is live" in screen


def test_results_of_an_older_decoder_are_told_of_and_need_nobody_at_once(look: Status, database: Database) -> None:
    (claimed,) = in_hand(database, "a.dcm")
    finish(database, replace(screened(claimed), decoder_revision=0))
    code, screen = look()
    assert code == 0, screen
    assert "Whenever it suits: `pneumoscreen rescreen --decoded-before" in screen


def test_a_source_whose_point_went_with_its_version_needs_a_person(look: Status, database: Database) -> None:
    number = add_point(database, version="linear-0")
    assert "Needs a person: the source ward" not in look()[1]
    with database.write() as session:
        operating_points.retire_for(session, "linear-0", "Ada", datetime.now(UTC))
    code, screen = look()
    assert code == 1
    assert "Needs a person: the source ward has no operating point since its version" in joined(screen)
    assert f"went out of service (point {number}): its images are read by linear-1's own threshold" in joined(screen)
    add_point(database, version="linear-1")
    assert look()[0] == 0


def joined(screen: str) -> str:
    return " ".join(screen.split())


def test_a_provisional_point_is_told_of_and_needs_nobody_at_once(look: Status, database: Database) -> None:
    number = add_point(database, version="linear-1", is_provisional=True)
    code, screen = look()
    assert code == 0, screen
    told = f"Whenever it suits: the operating point {number} of the source ward is provisional: its 60 positives prove"
    assert f"{told} a recall of 0.930, not of 0.95." in joined(screen)


def test_a_source_whose_images_are_read_by_the_versions_own_threshold_is_told_of(
    look: Status, database: Database, tmp_path: Path
) -> None:
    finish(database, screened(*in_hand(database, "a.png")))
    sources = {"ward": {"path": tmp_path / "ward"}}
    told = "Whenever it suits: the source ward has no operating point: labels are by the version's own threshold"
    assert told in joined(look(sources=sources)[1])
    add_point(database, version="linear-1")
    assert told not in joined(look(sources=sources)[1])


def test_a_version_in_shadow_is_shown_with_what_it_says_otherwise(look: Status, database: Database) -> None:
    finish(database, *(screened(claimed, 0.9) for claimed in in_hand(database, "a.png")))
    with database.write() as session:
        session.add(ModelVersion(version="linear-2", manifest_sha256="0" * 64, created_at=DAY))
        session.flush()
        run = ShadowRun(model_version="linear-2", source="ward", share=0.25, started_by="Ada", started_at=DAY)
        session.add(run)
        session.flush()
        score = ShadowScore(shadow_run_id=run.id, sighting_id=1, sha256="a" * 64, prediction_id=1, logit=-2.0)
        score.probability, score.threshold, score.label, score.created_at = 0.12, 0.5, "NORMAL", DAY
        session.add(score)
    shown = "Shadow linear-2 scores 25% of ward since 2026-05-04 12:00 (UTC): 1 images, 1 with another label"
    assert shown in joined(look()[1])
    with database.write() as session:
        session.query(ShadowRun).one().ended_at = DAY
    assert "Shadow" not in look()[1]
