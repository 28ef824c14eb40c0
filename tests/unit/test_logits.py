"""The raw logits that predictions of older schemas lack are computed from their probability, where that is possible."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import select

from actions import logits
from cli.backup import backup
from cli.restore import restore
from shared.base.settings import Settings
from shared.database import Database, Prediction, Screening
from shared.models.manifest import Calibration
from tests.models import home_with_versions
from tests.points import digest
from tests.unit.conftest import Run
from tests.unit.steps import NOW, drop


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    return home_with_versions(database, tmp_path, "v1", "v2")


def old(database: Database, *probabilities: float | None, version: str = "v1", first: int = 0) -> None:
    """Results of an older program: a probability and no logit; None: a prediction of which there is no result."""
    sightings = drop(database, *(f"{version}-{first + number}.png" for number in range(len(probabilities))))
    with database.write() as session:
        for sighting, probability in zip(sightings, probabilities, strict=True):
            found = Prediction(
                sha256=digest(first + sighting), model_version=version, decoder_revision=0, created_at=NOW
            )
            session.add(found)
            session.flush()
            if probability is not None:
                figures = {"probability": probability, "threshold": 0.5, "label": "NORMAL"}
                session.add(Screening(sighting_id=sighting, prediction_id=found.id, created_at=NOW, **figures))


def stored(database: Database) -> list[float | None]:
    with database.read() as session:
        return list(session.scalars(select(Prediction.logit).order_by(Prediction.id)))


def test_the_calibration_is_undone_but_for_what_a_probability_does_not_hold() -> None:
    calibration = Calibration(slope=1.5, intercept=-0.5)
    for logit in (-17.0, -3.25, 0.0, 4.0, 17.0):
        assert logits.invert(calibration, calibration.probability(logit)) == pytest.approx(logit, abs=1e-4)
    assert logits.invert(calibration, 0.0) is None
    assert logits.invert(calibration, 1.0) is None
    assert logits.invert(Calibration(slope=0.0), 0.3) is None


def test_logits_are_filled_in_once_in_chunks_and_what_cannot_be_is_counted(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logits, "CHUNK", 2)
    old(database, 0.5, 0.9, 1.0, None, 0.1)
    old(database, 0.3, 0.4, version="v2", first=5)
    shutil.rmtree(chosen.models / "v2")
    done = logits.fill(database, chosen.models)
    assert (done.filled, done.saturated, done.unread, done.gone, done.missing) == (3, 1, 1, {"v2": 2}, 4)
    expected = [0.0, 2.197225, None, None, -2.197225, None, None]
    assert stored(database) == [None if value is None else pytest.approx(value, abs=1e-5) for value in expected]
    again = logits.fill(database, chosen.models)
    assert (again.filled, again.missing) == (0, 4)


def test_what_was_broken_off_goes_on(database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits, "CHUNK", 2)
    old(database, 0.5, 0.6, 0.7, 0.8)

    def strike(_count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logits.fill(database, chosen.models, advance=strike)
    assert [logit is None for logit in stored(database)] == [False, False, True, True]
    assert logits.fill(database, chosen.models).filled == 2


def test_db_upgrade_says_how_many_logits_it_computed_and_how_many_are_missing(
    database: Database, chosen: Settings, run_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    old(database, 0.5, 0.9, 1.0)
    code, printed, _ = run_command("db", "upgrade", "--home", tmp_path)
    assert code == 0
    assert "Of 2 older predictions the raw logit was computed" in printed
    assert "1 older predictions stay without a logit" in printed


def test_a_restored_backup_of_an_older_schema_has_them_at_once(
    database: Database, chosen: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old(database, 0.5, 0.9, 1.0)
    backup(chosen, tmp_path / "one.backup")
    database.close()
    restore(chosen, tmp_path / "one.backup", yes=True)
    assert [logit is None for logit in stored(database)] == [False, False, True]
    assert "1 older predictions stay without a logit" in capsys.readouterr().out
