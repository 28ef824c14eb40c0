"""Another version scores the images of an old draw, so that the words of then give its operating point."""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from actions import rescoring
from shared import sources
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.database import Database, Draw, DrawMember, OperatingPoint, Prediction, Sighting, SightingState
from shared.ledger import retention
from shared.ledger.register import register
from shared.sources.folder.facts import Facts
from tests.models import home_with_versions, promote
from tests.points import add_point, points, word
from tests.unit.conftest import Run
from tests.unit.steps import NOW, rows


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / MARKER).touch()
    settings = home_with_versions(database, tmp_path, "v1", "v2")
    promote(database, "v1", "Ada", NOW, "the first")
    return settings


def png(seed: int) -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def drawn(database: Database, folder: Path, images: int) -> list[str]:
    """A draw of images that `v1` scored and somebody read, ill and healthy in turn; returns their contents."""
    contents = []
    with database.write() as session:
        session.add(Draw(source="ward", model_version="v1", seed=1, until=NOW, created_by="Ada", created_at=NOW))
        session.flush()
        for number in range(1, images + 1):
            file = folder / f"{number}.png"
            file.write_bytes(png(number))
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            (sighting,) = register(session, "ward", "routine", [Facts.of(file.stat()).found(file.name)], NOW)
            found = Prediction(sha256=content, model_version="v1", decoder_revision=1, logit=0.1, created_at=NOW)
            session.add(found)
            session.flush()
            row = session.get_one(Sighting, sighting)
            row.state, row.sha256, row.prediction_id, row.finished_at = SightingState.DONE, content, found.id, NOW
            member = DrawMember(draw_id=1, number=number, sighting_id=sighting, sha256=content, prediction_id=found.id)
            member.stratum, member.inclusion = 0, 1.0
            session.add_all([member, word(content, "PNEUMONIA" if number % 2 else "NORMAL", 1)])
            contents.append(content)
    return contents


def scored(database: Database, version: str) -> list[str]:
    with database.read() as session:
        of_version = select(Prediction.sha256).where(Prediction.model_version == version, Prediction.logit.is_not(None))
        return list(session.scalars(of_version.order_by(Prediction.id)))


def test_what_can_still_be_read_gets_a_logit_and_no_result_changes(database: Database, chosen: Settings) -> None:
    ward = chosen.home / "ward"
    contents = drawn(database, ward, 5)
    (ward / "2.png").unlink()
    (ward / "4.png").write_bytes(png(99) + b"another")
    before = rows(database)
    known = sources.build(chosen)
    done = rescoring.rescore(database, chosen, known, 1, "v2", NOW)
    assert (done.scored, done.known, done.left_out.total()) == (3, 0, 2)
    assert scored(database, "v2") == [contents[0], contents[2], contents[4]]
    assert rows(database) == before
    again = rescoring.rescore(database, chosen, known, 1, "v2", NOW)
    assert (again.scored, again.known, again.left_out.total()) == (0, 3, 2)


def test_an_image_that_is_erased_while_it_is_scored_leaves_no_prediction(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = drawn(database, chosen.home / "ward", 2)
    predict = rescoring._predict

    def erased_meanwhile(*given: Any) -> Any:
        with database.write() as session:
            retention.delete_sightings(session, [1])
            retention.delete_contents(session, Prediction, contents[:1])
        return predict(*given)

    monkeypatch.setattr(rescoring, "_predict", erased_meanwhile)
    done = rescoring.rescore(database, chosen, sources.build(chosen), 1, "v2", NOW)
    assert (done.scored, scored(database, "v2")) == (1, contents[1:])


def test_promote_refit_applies_a_point_that_the_old_words_prove_for_the_new_version(
    database: Database, chosen: Settings, run_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    (tmp_path / "pneumoscreen.toml").write_text(f'[sources.ward]\npath = "{tmp_path / "ward"}"\n')
    drawn(database, chosen.home / "ward", 20)
    home = ("--home", tmp_path)
    assert run_command("calibrate", "fit", "--source", "ward", "--recall", "0.6", *home)[0] == 0
    assert run_command("calibrate", "apply", "1", "--by", "Ada", "--reason", "read", *home)[0] == 0
    promoted = run_command("models", "promote", "v2", "--by", "Ada", "--reason", "a trial", "--refit", *home)
    assert promoted[0] == 0
    assert "20 images were scored" in promoted[2]
    assert points(database)[1].startswith("promotion")
    assert points(database)[2] == "applied"
    with database.read() as session:
        point = session.get_one(OperatingPoint, 2)
        assert (point.model_version, point.recall_goal, point.applied_by) == ("v2", 0.6, "Ada")


@pytest.fixture
def command(chosen: Settings, database: Database, run_command: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `pneumoscreen` where `ward` is a source and `v1` is live."""
    monkeypatch.setenv("COLUMNS", "400")
    (chosen.home / "pneumoscreen.toml").write_text(f'[sources.ward]\npath = "{chosen.home / "ward"}"\n')
    return lambda *words: run_command(*words, "--home", chosen.home)


def test_fit_rescore_has_another_version_score_the_draw_and_tells_of_images_that_are_gone(
    database: Database, chosen: Settings, command: Run
) -> None:
    drawn(database, chosen.home / "ward", 12)
    (chosen.home / "ward" / "2.png").unlink()
    fit = ("calibrate", "fit", "--source", "ward", "--model", "v2")
    assert command(*fit)[0] == 1
    code, printed, told = command(*fit, "--rescore")
    assert code == 0
    assert "11 images were scored, 0 had been before." in told
    assert "1 could not be: " in told
    assert "Operating point 1 of ward for v2: " in printed
    assert "It rests on 11 words on draw 1" in printed and "left out: 1 without a logit" in printed
    assert "0 images were scored, 11 had been before." in command(*fit, "--rescore")[2]


def test_promote_refit_applies_no_point_that_the_old_words_do_not_prove(
    database: Database, chosen: Settings, command: Run
) -> None:
    drawn(database, chosen.home / "ward", 12)
    assert command("calibrate", "fit", "--source", "ward")[0] == 0
    who = ("--by", "Ada", "--reason", "a trial")
    assert command("calibrate", "apply", "1", "--provisional", *who)[0] == 0
    code, printed, told = command("models", "promote", "v2", "--refit", *who)
    assert code == 0
    assert "are read by the version's own threshold: ward" in told
    assert "PROVISIONAL: a recall of 0.95 is not proved" in printed
    assert points(database)[1].startswith("promotion")
    assert points(database)[2] == "fitted"


def test_promote_refit_says_which_source_has_no_draw_to_fit_to_and_goes_on_with_the_others(
    database: Database, chosen: Settings, command: Run
) -> None:
    drawn(database, chosen.home / "ward", 12)
    add_point(database, "icu")  # fitted to a labelled folder
    add_point(database, "ward")
    code, _, told = command("models", "promote", "v2", "--refit", "--by", "Ada", "--reason", "a trial")
    assert code == 0
    assert "icu: The source icu has no draw: `pneumoscreen calibrate draw --source icu` makes one." in told
    assert "12 images were scored" in told
    assert points(database)[3] == "fitted"
