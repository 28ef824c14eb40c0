"""When a training is due and who may do it, on both databases; time is an argument."""

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from queries.trainings import progress
from shared.base.settings import Settings, load
from shared.database import Database, Review, RunState, TrainingRun
from tests.unit.steps import NOW, after
from trainer import architectures, augmentation, fit, leases
from trainer.datasets import Dataset
from trainer.leases import Lease
from trainer.plan import Plan, run_for

DAY = 24 * 3600


@pytest.fixture
def settings(tmp_path: Path, database: Database) -> Settings:
    return load(tmp_path, training_data=tmp_path, retrain_every=7 * DAY, retrain_after_labels=20)


def take(database: Database, settings: Settings, seconds: float = 0) -> Lease | None:
    with database.write() as session:
        return leases.take(session, settings, settings.training_data is not None, after(seconds))


def end(database: Database, lease: Lease | None, state: RunState = RunState.PUBLISHED, seconds: float = 60) -> bool:
    assert lease is not None
    with database.write() as session:
        return leases.end(session, lease, state, after(seconds), "v2", None)


def review(database: Database, count: int, first: int = 0) -> None:
    with database.write() as session:
        for number in range(first, first + count):
            session.add(Review(sha256=f"{number:064d}", label="NORMAL", reviewer="Dr. Okafor", created_at=NOW))


def cause(database: Database) -> str:
    with database.read() as session:
        return session.query(TrainingRun).order_by(TrainingRun.id.desc()).first().cause  # type: ignore[union-attr]


def test_the_first_run_is_due_at_once_where_there_are_labelled_folders(database: Database, settings: Settings) -> None:
    assert take(database, settings) == Lease(1, 1, "screen")
    assert cause(database) == "schedule"


def test_without_labelled_folders_nothing_is_due_until_there_are_reviews(
    database: Database, settings: Settings
) -> None:
    bare = settings.model_copy(update={"training_data": None})
    assert take(database, bare) is None
    review(database, 20)
    assert take(database, bare) is not None
    assert cause(database) == "labels"


def test_two_trainers_never_run_at_once(database: Database, settings: Settings) -> None:
    assert take(database, settings) is not None
    assert take(database, settings, 30) is None
    with database.write() as session:
        assert leases.begin(session, "screen", "Ada", after(30)) is None


def test_the_next_run_is_due_when_its_time_has_come(database: Database, settings: Settings) -> None:
    end(database, take(database, settings))
    assert take(database, settings, 7 * DAY - 1) is None
    assert take(database, settings, 7 * DAY) is not None


def test_new_labels_bring_a_run_forward_and_count_once(database: Database, settings: Settings) -> None:
    end(database, take(database, settings))
    review(database, 19)
    assert take(database, settings, 3600) is None
    review(database, 1, first=18)  # a second word on a content that was reviewed already
    assert take(database, settings, 3600) is None
    review(database, 1, first=19)
    end(database, take(database, settings, 3600), seconds=4000)
    assert cause(database) == "labels"
    assert take(database, settings, 7200) is None


@pytest.mark.parametrize("word", ["UNCLEAR", "NOT_READABLE"])
def test_a_word_that_names_no_class_is_no_new_label(database: Database, settings: Settings, word: str) -> None:
    bare = settings.model_copy(update={"training_data": None})
    review(database, 19)
    with database.write() as session:
        session.add(Review(sha256="f" * 64, sighting_id=1, label=word, reviewer="Dr. Okafor", created_at=NOW))
    assert take(database, bare) is None
    review(database, 1, first=19)
    assert take(database, bare) is not None


def test_a_run_whose_trainer_died_is_resumed_by_another_and_the_first_has_lost_its_lease(
    database: Database, settings: Settings
) -> None:
    first = take(database, settings)
    assert first is not None
    with database.write() as session:
        assert leases.keep(session, first, after(100))
    assert take(database, settings, 200) is None, "its heartbeat is young"
    second = take(database, settings, 300)
    assert second == Lease(first.run, 2, "screen")
    with database.write() as session:
        assert not leases.keep(session, first, after(301))
    assert not end(database, first), "it must not publish any more"
    assert end(database, second)
    assert not end(database, second), "a run ends once"


def test_a_failed_run_is_not_tried_again_at_once(database: Database, settings: Settings) -> None:
    review(database, 20)
    end(database, take(database, settings), RunState.FAILED)
    assert take(database, settings, 1800) is None
    assert take(database, settings, 60 + timedelta(hours=1).total_seconds()) is not None
    assert cause(database) == "labels", "its labels were not learned from"


def test_a_scheduled_run_that_failed_is_tried_again_after_an_hour_and_not_after_a_week(
    database: Database, settings: Settings
) -> None:
    end(database, take(database, settings))
    due = 7 * DAY
    end(database, take(database, settings, due), RunState.FAILED, due + 60)
    assert take(database, settings, due + 600) is None
    assert take(database, settings, due + 2 * 3600) is not None
    assert cause(database) == "schedule"


def test_a_clock_that_was_a_day_ahead_keeps_no_training_waiting_for_that_day(
    database: Database, settings: Settings
) -> None:
    """Neither the successor of a dead run, nor the one after a failure, nor the next on schedule."""
    first = take(database, settings, DAY)
    second = take(database, settings, 0)
    assert (first, second) == (Lease(1, 1, "screen"), Lease(1, 2, "screen"))
    assert end(database, second, RunState.FAILED, DAY)
    third = take(database, settings, 0)
    assert third == Lease(2, 1, "screen")
    assert end(database, third, seconds=60)
    assert take(database, settings, 8 * DAY) == Lease(3, 1, "screen")
    assert end(database, Lease(3, 1, "screen"), seconds=8 * DAY)
    assert take(database, settings, 60) == Lease(4, 1, "screen"), "what began a week ahead is no fresh training"


@pytest.mark.parametrize("architecture", ["tiny7", "variants:depth=2,width=64", "transfer:MobileNetV2"])
def test_the_progress_of_a_run_is_what_its_folder_holds(
    database: Database, settings: Settings, tmp_path: Path, architecture: str
) -> None:
    chosen = settings.model_copy(update={"architecture": architecture})
    lease = take(database, chosen)
    assert lease is not None
    with database.read() as session:
        row = session.get_one(TrainingRun, lease.run)
    assert progress(chosen.home, row.id, row.started_at) is None
    plan = Plan(architecture, tmp_path / "candidates", tmp_path / "training", epochs=7, seed=lease.run)
    data = Dataset(np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.uint8), (Path("a"),), ("a",), ("0" * 64,))
    folder = run_for(plan, data).work
    folder.mkdir(parents=True)
    (folder / fit.HISTORY).write_text("{}\n{}\n")
    assert progress(chosen.home, row.id, row.started_at) == (2, 7)


def test_a_training_by_hand_from_before_a_run_is_not_its_progress(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "training" / "tiny7-14-1-0123abcd"
    folder.mkdir(parents=True)
    (folder / fit.HISTORY).write_text("{}\n")
    os.utime(folder / fit.HISTORY, (NOW.timestamp() - 1, NOW.timestamp() - 1))
    take(database, settings)
    with database.read() as session:
        row = session.get_one(TrainingRun, 1)
    assert progress(settings.home, row.id, row.started_at) is None


def test_another_recipe_or_release_does_not_go_on_from_this_ones_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan("tiny7", tmp_path / "candidates", tmp_path / "training")
    data = Dataset(np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.uint8), (Path("a"),), ("a",), ("0" * 64,))
    recipe = architectures.recipe("tiny7")
    first = run_for(plan, data).work
    assert run_for(plan, data).work == first
    others = [replace(recipe, learning_rate=0.5), replace(recipe, change=augmentation.attend_to_middle)]
    for other in others:
        with monkeypatch.context() as patched:
            patched.setattr(architectures, "recipe", lambda name, other=other: other)
            assert run_for(plan, data).work != first
    monkeypatch.setattr("trainer.plan.__version__", "99.0.0")
    assert run_for(plan, data).work != first
