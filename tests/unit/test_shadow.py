"""A version in shadow scores part of the images beside the live one, and can hold up or fail nothing."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from actions import promotion, shadowing
from queries import shadow as query
from shared.base.errors import BrokenModel, InvalidRequest, WorkFailed
from shared.base.filesystem import MARKER
from shared.base.settings import Settings, load
from shared.base.source_settings import FolderSettings
from shared.database import AuditEntry, Database, ShadowRun, ShadowScore
from shared.ledger import shadows
from shared.models import registry
from shared.models.engines import LINEAR_FILE
from shared.models.engines.linear import LinearNetwork
from shared.models.registry import Published
from tests.models import DAY, describe, go_live, make_linear_version, promote, published
from tests.unit.conftest import Run
from tests.unit.steps import rows
from tests.unit.test_screening import drop, message, png
from tests.unit.test_worker_process import reported, wait
from worker import models, shadow
from worker.models import Models, PlaceTaken
from worker.process import WorkerProcess
from worker.screening import screen_message

SOURCES = ("ward", "clinic")
TOP = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, database: Database) -> Settings:
    """v1 is live; v2, which says the opposite of everything, and v3 are published."""
    go_live(database, make_linear_version(tmp_path / "models", "v1", seed=1))
    opposite, other = (make_linear_version(tmp_path / "made", name, 1) for name in ("v2", "v3"))
    np.save(opposite / LINEAR_FILE, -np.load(opposite / LINEAR_FILE))
    describe(opposite)
    for version in (opposite, other):
        promotion.publish(database, tmp_path / "models", version, DAY)
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / MARKER).touch()
    url = database.engine.url.render_as_string(hide_password=False)
    folders = {"ward": FolderSettings(path=tmp_path / "ward")}
    return load(tmp_path, database_url=url, sources=folders, batch_size=4, decode_threads=2, lease=0.3)


@pytest.fixture
def start(home: Settings) -> Iterator[Callable[[], WorkerProcess]]:
    started: list[WorkerProcess] = []

    def begin() -> WorkerProcess:
        started.append(WorkerProcess(home))
        return started[-1]

    yield begin
    for process in started:
        process.stop()
        process.threads.shutdown()
        process.database.close()


def put_in_shadow(database: Database, home: Settings, version: str = "v2", share: float = 1.0) -> int:
    return shadowing.start(database, home.models, SOURCES, version, "ward", share, "Ada", DAY)


def scores(database: Database) -> list[ShadowScore]:
    with database.read() as session:
        return list(session.scalars(select(ShadowScore).order_by(ShadowScore.id)))


def screen(process: WorkerProcess, database: Database, home: Settings, *names: int) -> dict[str, dict[str, Any]]:
    """Drop an image for each number, screen them, and return their results."""
    for name in names:
        drop(database, home.home / "ward" / f"{name}.png", png(name))
    screen_message(process, message(database))
    return {row["path"]: row for row in rows(database)}


def test_images_are_scored_beside_the_live_version_and_their_results_stay_its_own(
    database: Database, home: Settings, start: Callable[[], WorkerProcess]
) -> None:
    run = put_in_shadow(database, home)
    process = start()
    results = screen(process, database, home, 1, 2, 3)
    wait(lambda: len(scores(database)) == 3, "three scores")
    wait(lambda: counted(process) == (3, 0, 0), "the metrics to count them")
    assert [row["model_version"] for row in results.values()] == ["v1"] * 3
    assert {path: row["probability"] for path, row in results.items()} == {
        row["path"]: row["probability"] for row in rows(database)
    }
    second = registry.load(home.models, published(home.models / "v2"))
    for score in scores(database):
        assert score.shadow_run_id == run
        assert score.probability == pytest.approx(second.manifest.calibration.probability(score.logit))
        assert score.label == ("PNEUMONIA" if score.probability >= 0.5 else "NORMAL")
    assert len({score.logit for score in scores(database)}) == 3
    (overview,) = query_overviews(database)
    assert overview.images == 3
    with database.read() as session:
        listed = query.disagreements(session, run)
    labels = {row["sighting_id"]: row["label"] for row in results.values()}
    different = {s.sighting_id for s in scores(database) if s.label != labels[s.sighting_id]}
    assert {each.sighting_id for each in listed} == different
    assert overview.disagreements == len(different) == 3


def counted(process: WorkerProcess) -> tuple[float | None, float | None, float | None]:
    """By the metrics: images scored, images left out, and failures."""
    value = process.metrics.registry.get_sample_value
    scored, left_out = (value("pneumoscreen_shadow_images_total", {"state": state}) for state in ("scored", "left_out"))
    return scored, left_out, value("pneumoscreen_shadow_failures_total")


def query_overviews(database: Database) -> list[query.ShadowOverview]:
    with database.read() as session:
        return query.overviews(session, open_only=True)


def test_a_share_is_chosen_by_the_content_alone() -> None:
    contents = [f"{number:064x}" for number in range(4000)]
    chosen = [content for content in contents if shadows.is_chosen(1, 0.1, content)]
    assert 340 < len(chosen) < 460
    assert [content for content in contents if shadows.is_chosen(1, 0.1, content)] == chosen
    assert set(chosen) < {content for content in contents if shadows.is_chosen(1, 0.2, content)}
    assert set(chosen) != {content for content in contents if shadows.is_chosen(2, 0.1, content)}
    assert all(shadows.is_chosen(1, 1.0, content) for content in contents)


def test_a_content_is_scored_once_however_often_it_comes(
    database: Database, home: Settings, start: Callable[[], WorkerProcess]
) -> None:
    put_in_shadow(database, home)
    process = start()
    screen(process, database, home, 1)
    wait(lambda: len(scores(database)) == 1, "the score")
    drop(database, home.home / "ward" / "copy.png", png(1))
    screen_message(process, message(database))
    drop(database, home.home / "ward" / "2.png", png(2))
    screen_message(process, message(database))
    wait(lambda: len(scores(database)) == 2, "the next score")


@pytest.mark.parametrize("fault", ["damaged", "raises", "nonsense"])
def test_a_version_that_does_not_load_or_run_fails_no_screening_and_is_named_in_the_worker_s_row(
    database: Database,
    home: Settings,
    start: Callable[[], WorkerProcess],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    put_in_shadow(database, home)
    process = start()
    if fault == "damaged":
        (home.models / "v2" / LINEAR_FILE).write_bytes(b"damaged")
    else:
        spoil(monkeypatch, lambda batch: 1 / 0 if fault == "raises" else np.full(len(batch), np.nan, np.float32))
    results = screen(process, database, home, 1, 2)
    assert [row["state"] for row in results.values()] == ["done", "done"]
    wait(lambda: "the version v2 in shadow" in reported(database)[1], "the remark")
    assert reported(database)[0] == "v1"
    assert "in shadow" in caplog.text
    assert screen(process, database, home, 3)["3.png"]["state"] == "done"
    assert scores(database) == []
    wait(lambda: counted(process)[:2] == (0, 3), "the metrics to count what it left out")
    assert counted(process)[2] != 0, "a failure"
    shadowing.end(database, "v2", None, "Ada", DAY)
    wait(lambda: reported(database)[1] == "", "the remark to go with the run")


def spoil(monkeypatch: pytest.MonkeyPatch, logits: Callable[[NDArray[np.uint8]], Any]) -> None:
    """Give the network of the thread in shadow other answers than its own."""
    real = LinearNetwork.logits

    def spoilt(self: LinearNetwork, batch: NDArray[np.uint8]) -> Any:
        return logits(batch) if threading.current_thread().name == "shadow" else real(self, batch)

    monkeypatch.setattr(LinearNetwork, "logits", spoilt)


def test_a_version_that_hangs_holds_up_neither_screening_nor_a_promotion_and_fills_no_memory(
    database: Database, home: Settings, start: Callable[[], WorkerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "ROOM_SECONDS", 0.1)
    monkeypatch.setattr(shadow, "MAX_WAITING", 2)
    may_end = threading.Event()

    def hang(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert may_end.wait(60)
        return np.zeros(len(batch), np.float32)

    spoil(monkeypatch, hang)
    put_in_shadow(database, home)
    process = start()
    try:
        assert screen(process, database, home, 1)["1.png"]["model_version"] == "v1"
        wait(process.models._shadow_lock.locked, "the version in shadow to hang")
        screen(process, database, home, 2, 3, 4, 5)
        wait(lambda: "is slower than its share" in reported(database)[1], "the remark")
        assert counted(process) == (0, 2, 0), "two wait, and there is no room for the others"
        go_live(database, published_folder(home, "v3"))
        assert screen(process, database, home, 6)["6.png"]["model_version"] == "v3"
    finally:
        may_end.set()


def published_folder(home: Settings, version: str) -> Path:
    return home.models / version


def test_a_process_holds_no_third_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one in shadow gives way to one that jobs name, and takes its place only after that has rested."""
    one, two, three = (published(make_linear_version(tmp_path, name)) for name in ("v1", "v2", "v3"))
    held = Models(tmp_path)
    with pytest.raises(PlaceTaken), held.shadow(two):
        pass
    held.live([one])
    with held.shadow(two) as loaded:
        assert loaded.manifest.version == "v2"
    with held.shadow(two) as again:
        assert again is loaded
    held.named(three)
    assert held._shadow is None
    with pytest.raises(PlaceTaken), held.shadow(two):
        pass
    monkeypatch.setattr(models, "RESTING_SECONDS", 0.0)
    with held.shadow(two):
        assert held._named is None
    with held.shadow(two) as loaded:
        pass
    assert held.live([two, one]) is loaded, "it is not loaded again when it is promoted"
    with pytest.raises(PlaceTaken), held.shadow(two):
        pass


def test_a_version_that_was_still_loading_when_another_took_its_place_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "ROOM_SECONDS", 0.01)
    one, two, three = (published(make_linear_version(tmp_path, name)) for name in ("v1", "v2", "v3"))
    held, real = Models(tmp_path), registry.load
    held.live([one])

    def load_and_be_late(folder: Path, version: Published, *others: Any) -> registry.Loaded:
        if version == two:
            held.named(three)
        return real(folder, version, *others)

    monkeypatch.setattr(registry, "load", load_and_be_late)
    with pytest.raises(PlaceTaken), held.shadow(two):
        pass
    assert held._shadow is None
    assert held.named(three).manifest.version == "v3"


KILLED = """
import os, signal, sys
from pathlib import Path
from worker.shadow_marks import Marks

with Marks(Path(sys.argv[1])).held(int(sys.argv[2])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_version_that_ended_a_process_is_left_alone_until_a_person_begins_it_anew(
    database: Database, home: Settings, start: Callable[[], WorkerProcess], caplog: pytest.LogCaptureFixture
) -> None:
    run = put_in_shadow(database, home)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(home.home), str(run)], cwd=TOP)
    assert killed.returncode == -signal.SIGKILL
    process = start()
    screen(process, database, home, 1)
    wait(lambda: "a process ended while the version v2 in shadow" in reported(database)[1], "the remark")
    wait(lambda: process.metrics.shadow_left_out._value.get() == 1, "the image to be left out")
    assert (scores(database), process.models._shadow) == ([], None)
    assert "left alone on this host" in caplog.text
    shadowing.end(database, "v2", None, "Ada", DAY)
    put_in_shadow(database, home)
    process.shadow.refresh()
    screen(process, database, home, 2)
    wait(lambda: len(scores(database)) == 1, "the score")
    wait(lambda: list((home.home / "run").glob("shadow-*")) == [], "the note to go")
    wait(lambda: reported(database)[1] == "", "the remark to go")


def test_what_makes_no_sense_is_refused(database: Database, home: Settings) -> None:
    for share in (0.0, -1.0, 1.5):
        with pytest.raises(InvalidRequest, match="--share"):
            put_in_shadow(database, home, share=share)
    with pytest.raises(InvalidRequest, match="There is no source named 'attic'"):
        shadowing.start(database, home.models, SOURCES, "v2", "attic", 0.1, "Ada", DAY)
    with pytest.raises(BrokenModel, match="There is no model version 'v9'"):
        put_in_shadow(database, home, "v9")
    with pytest.raises(WorkFailed, match="v1 is live"):
        put_in_shadow(database, home, "v1")
    put_in_shadow(database, home)
    for version, source in (("v2", "ward"), ("v3", "clinic")):
        with pytest.raises(WorkFailed, match=r"v2 is in shadow for ward since .* End it first"):
            shadowing.start(database, home.models, SOURCES, version, source, 0.1, "Ada", DAY)
    shadowing.start(database, home.models, SOURCES, "v2", "clinic", 0.1, "Ada", DAY)
    assert shadowing.end(database, "v2", "ward", "Ben", DAY) == 1
    with pytest.raises(WorkFailed, match="v2 is not in shadow for ward"):
        shadowing.end(database, "v2", "ward", "Ben", DAY)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_of_two_versions_that_are_put_in_shadow_at_once_one_is_refused(database: Database, home: Settings) -> None:
    refused: list[str] = []

    def begin() -> None:
        try:
            put_in_shadow(database, home, "v3")
        except WorkFailed as error:
            refused.append(str(error))

    thread = threading.Thread(target=begin)
    with database.write() as session:
        shadows.hold_runs(session)
        thread.start()
        thread.join(0.5)
        session.add(ShadowRun(model_version="v2", source="ward", share=1.0, started_by="Ada", started_at=DAY))
    thread.join(30.0)
    assert ["v2 is in shadow" in sentence for sentence in refused] == [True]


def test_a_version_that_goes_live_is_in_shadow_no_more_and_both_are_on_record(
    database: Database, home: Settings
) -> None:
    run = put_in_shadow(database, home, share=0.25)
    promote(database, "v2", "Ben", datetime.now(UTC))
    with database.read() as session:
        assert session.get_one(ShadowRun, run).ended_by == "Ben"
        entries = session.scalars(select(AuditEntry.detail).where(AuditEntry.action == "shadow")).all()
    assert entries == [f"v2: 0.25 of source ward, run {run}", f"v2: run {run} ended"]


def test_a_person_begins_it_sees_where_the_two_differ_and_ends_it(
    database: Database,
    home: Settings,
    start: Callable[[], WorkerProcess],
    run_command: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    (home.home / "pneumoscreen.toml").write_text(f'[sources.ward]\npath = "{home.home / "ward"}"\n')
    where = ("--home", home.home)
    code, out, _ = run_command("models", "shadow", "v2", "--source", "ward", "--share", "1", "--by", "Ada", *where)
    assert (code, "v2 scores 100% of ward from now on" in out) == (0, True)
    screen(start(), database, home, *range(1, 9))
    wait(lambda: len(scores(database)) == 8, "eight scores")
    code, out, _ = run_command("models", "compare", "--shadow", *where)
    (overview,) = query_overviews(database)
    assert code == 0
    assert f"8 images, {overview.disagreements} with another label" in out
    assert overview.disagreements == 8
    assert all(f" {row['sighting_id']} " in out for row in rows(database))
    for newest, said in ((9, "8 images, 8 with another label"), (3, "of the newest 3 images 3 with another label")):
        monkeypatch.setattr(query, "NEWEST", newest)
        _, out, _ = run_command("status", *where)
        assert said in out
    monkeypatch.setattr(query, "MAX_LISTED", 3)
    out = run_command("models", "compare", "--shadow", *where)[1]
    assert "The 3 widest apart of 8 are listed; --format json has all." in out
    (run,) = json.loads(run_command("models", "compare", "--shadow", "--format", "json", *where)[1])
    assert len(run["listed"]) == 8
    code, out, errors = run_command("models", "shadow", "v2", "--end", *where)
    assert (code, out, errors) == (0, "v2 is in shadow no more (1 ended); its scores stay.\n", "")
    code, out, _ = run_command("models", "compare", "v2", "--shadow", "--format", "json", *where)
    assert (code, '"ended_at": null' in out) == (0, False)
