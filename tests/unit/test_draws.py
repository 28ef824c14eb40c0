"""A random sample of a source is drawn, listed without the model's answers, read blind, and its words are taken."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from actions import draws
from actions.draws import Drawn, Wanted
from cli.calibrate import app
from cli.review import review
from shared.base.errors import InvalidRequest, PneumoscreenError, WorkFailed
from shared.base.settings import load
from shared.database import Database, ModelVersion, Promotion
from shared.ledger import words
from tests.unit.steps import NOW, drop, finish, in_hand, screened

IMAGES = 40


@pytest.fixture
def ward(database: Database) -> Database:
    """Forty images, of which the first three have one content, with rising probabilities."""
    claimed = in_hand(database, *(f"{number:02d}.png" for number in range(IMAGES)))
    outcomes = [
        replace(screened(claim, number / IMAGES), sha256=f"{max(number, 2):02x}" * 32)
        for number, claim in enumerate(claimed)
    ]
    finish(database, *(outcome for outcome in outcomes))
    with database.write() as session:
        session.add(ModelVersion(version="v1", manifest_sha256="0" * 64, created_at=NOW))
        session.flush()
        session.add(Promotion(version="v1", promoted_by="Ada", promoted_at=NOW))
    return database


def make(database: Database, size: int | None = 10, seed: int = 5, source: str = "ward") -> Drawn:
    with database.write() as session:
        return draws.draw(session, Wanted(source, seed, size), "Ada", NOW)


def members(database: Database, draw: int = 1) -> list[dict[str, Any]]:
    query = text(
        "SELECT m.*, s.path AS path FROM draw_members m JOIN sightings s ON s.id = m.sighting_id "
        "WHERE draw_id = :draw ORDER BY number"
    )
    with database.read() as session:
        return [dict(row) for row in session.execute(query, {"draw": draw}).mappings()]


def test_the_command_draws_and_says_what_may_be_proved_and_what_to_do_next(ward: Database, tmp_path: Path) -> None:
    asked = ["draw", "--source", "ward", "--seed", "5", "--by", "Ada", "--home", str(tmp_path)]
    done = CliRunner().invoke(app, [*asked, "--n", "10"])
    assert done.exit_code == 0, done.output
    printed = " ".join(done.stdout.split())
    assert "Draw 1: 10 of 38 images of ward, in 5 strata of the score of v1, seed 5." in printed
    assert "59 positives that are all found prove a recall of 0.95 (0.95^59 = 0.048, below 0.05)" in printed
    assert "Not even all 38 images should hold so many" in printed
    assert "`pneumoscreen calibrate list-draw 1 --format csv`" in printed
    assert "`pneumoscreen review --csv FILE --draw 1 --by NAME`" in printed
    assert make(ward).draw == 2
    assert [row["sha256"] for row in members(ward, 1)] == [row["sha256"] for row in members(ward, 2)], "the same seed"
    with pytest.raises(WorkFailed, match="'ward' has no result of v1"):
        CliRunner().invoke(app, [*asked, "--since", "2026-05-05"], catch_exceptions=False)


def test_nothing_is_drawn_while_no_version_is_live(ward: Database) -> None:
    with ward.write() as session:
        session.query(Promotion).delete()
    with pytest.raises(WorkFailed, match="no model version is live: `pneumoscreen db upgrade` installs the bundled"):
        make(ward)


def listed(tmp_path: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["list-draw", *arguments, "--home", str(tmp_path)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_draw_stores_who_drew_what_with_which_seed_and_probability(ward: Database) -> None:
    drawn = make(ward)
    assert (drawn.images, drawn.population, drawn.strata) == (10, 38, 5), "copies count once"
    rows = members(ward)
    assert [row["number"] for row in rows] == list(range(1, 11))
    assert {row["stratum"] for row in rows} == {0, 1, 2, 3, 4}
    assert sum(1 / row["inclusion"] for row in rows) == pytest.approx(38)
    with ward.read() as session:
        stored = session.execute(text("SELECT source, model_version, seed, created_by FROM draws")).one()
        (entry,) = session.execute(text("SELECT actor, action, detail FROM audit_log")).all()
    assert tuple(stored) == ("ward", "v1", 5, "Ada")
    assert tuple(entry) == ("Ada", "draw", "draw 1: 10 of 38 images of ward, v1, seed 5")


def test_the_same_seed_draws_the_same_images_and_a_later_draw_may_hold_them_again(ward: Database) -> None:
    make(ward)
    make(ward)
    make(ward, seed=6)
    contents = [[row["sha256"] for row in members(ward, draw)] for draw in (1, 2, 3)]
    assert contents[0] == contents[1] != contents[2]
    assert set(contents[0]) & set(contents[2])


def test_without_a_size_all_are_drawn_where_they_are_too_few_to_prove_anything(ward: Database) -> None:
    drawn = make(ward, size=None)
    assert (drawn.images, drawn.positives_needed, drawn.is_everything_needed) == (38, 59, True)


def test_only_what_the_live_version_screened_of_this_source_is_drawn(ward: Database) -> None:
    (other,) = in_hand(ward, "other-version.png")
    finish(ward, screened(other, content="f", version="v0"))
    drop(ward, "waits.png")
    assert make(ward, size=100).population == 38
    with pytest.raises(WorkFailed, match="'surgery' has no result of v1"):
        make(ward, source="surgery")


@pytest.mark.parametrize("wanted", [Wanted("ward", 1, 0), Wanted("ward", -1, 5)])
def test_a_draw_of_no_image_or_with_an_impossible_seed_is_refused(ward: Database, wanted: Wanted) -> None:
    with pytest.raises(InvalidRequest), ward.write() as session:
        draws.draw(session, wanted, "Ada", NOW)


def test_the_list_holds_numbers_and_paths_and_nothing_that_the_model_said(ward: Database, tmp_path: Path) -> None:
    make(ward)
    rows = list(csv.reader(io.StringIO(listed(tmp_path, "1", "--format", "csv"))))
    assert rows[0] == ["number", "path"]
    by_number = {str(row["number"]): row["path"] for row in members(ward)}
    assert dict(rows[1:]) == {number: "00.png" if path == "02.png" else path for number, path in by_number.items()}
    table = listed(tmp_path)
    assert "Draw 1 of ward" in table
    assert not {"NORMAL", "PNEUMONIA", "0.5"} & set(table.split())


def test_a_drawn_image_that_was_replaced_since_is_not_listed_since_it_would_be_another_that_is_read(
    ward: Database, tmp_path: Path
) -> None:
    make(ward, size=38)
    (newer,) = in_hand(ward, "39.png")
    finish(ward, screened(newer, content="e"))
    rows = list(csv.reader(io.StringIO(listed(tmp_path, "--format", "csv"))))[1:]
    assert len(rows) == 37
    assert "39.png" not in {path for _, path in rows}


def take(tmp_path: Path, csv_text: str, draw: int | None = 1, by: str = "Dr. A") -> None:
    file = tmp_path / "read.csv"
    file.write_text(csv_text)
    review(load(tmp_path), None, None, by, None, file, draw=draw)


def counting(database: Database, draw: int = 1) -> dict[int, str | None]:
    with database.read() as session:
        return {word.number: word.label for word in words.words_of_draw(session, draw) if word.label}


def test_words_of_a_file_count_for_its_draw_and_a_second_time_add_nothing(
    ward: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(ward)
    rows = members(ward)
    file = "number,path,label\n" + "".join(f"{row['number']},{row['path']},NORMAL\n" for row in rows)
    take(tmp_path, file)
    take(tmp_path, file)
    assert counting(ward) == dict.fromkeys(range(1, 11), "NORMAL")
    assert "10 reviews were added, 0 were known" in capsys.readouterr().out
    take(tmp_path, "number,label\n3,PNEUMONIA\n", by="Dr. A")
    assert counting(ward)[3] == "PNEUMONIA"
    assert listed(tmp_path, "--unread", "--format", "csv").split() == ["number,path"]


def test_a_list_may_be_given_in_while_lines_of_it_are_unread(
    ward: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(ward)
    take(tmp_path, "number,label\n1,\n2,NORMAL\n3,  \n")
    assert counting(ward) == {2: "NORMAL"}
    assert "1 reviews were added, 0 were known already, 2 lines have no word yet." in capsys.readouterr().out


def test_a_blind_word_outside_a_draw_says_that_it_does_not_count_for_the_draw(
    ward: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(ward)
    path, settings = members(ward)[0]["path"], load(tmp_path)
    review(settings, path, "NORMAL", "Dr. A", None, None, blind=True)
    assert "The image is in draw 1: for that it counts only if you say --draw 1" in capsys.readouterr().err
    assert counting(ward) == {}
    review(settings, path, "NORMAL", "Dr. A", None, None, draw=1)
    assert "The image is in draw 1" not in capsys.readouterr().err
    assert list(counting(ward).values()) == ["NORMAL"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{number},{other},NORMAL", r"line 2: '{other}' is not number {number} of draw 1, but .*shifted"),
        ("11,,NORMAL", "line 2: number 11 is not of draw 1, which has 1 to 10"),
        (",nowhere.png,NORMAL", "line 2: 'nowhere.png' is not of draw 1"),
        ("three,,NORMAL", "line 2: its number in the draw is a whole number, not 'three'"),
        (",,NORMAL", "line 2: it names no image"),
    ],
)
def test_a_line_that_is_not_of_the_draw_is_refused_by_name_and_none_is_taken(
    ward: Database, tmp_path: Path, line: str, sentence: str
) -> None:
    make(ward)
    first, second = members(ward)[:2]
    names = {"number": first["number"], "other": second["path"]}
    with pytest.raises(WorkFailed, match=sentence.format(**names)):
        take(tmp_path, f"number,path,label\n{line.format(**names)}\n{second['number']},,NORMAL\n")
    assert counting(ward) == {}


def test_words_for_a_draw_that_there_is_not_are_refused(ward: Database, tmp_path: Path) -> None:
    make(ward)
    with pytest.raises(InvalidRequest, match="there is no draw 7; the newest is 1"):
        take(tmp_path, "number,label\n1,NORMAL\n", draw=7)


def test_a_file_that_shows_the_models_answer_holds_no_blind_word(ward: Database, tmp_path: Path) -> None:
    make(ward)
    path = members(ward)[0]["path"]
    with pytest.raises(PneumoscreenError, match=r"line 2: it shows the model's answer"):
        take(tmp_path, f"path,label,probability,reviewed_label\n{path},NORMAL,0.25,NORMAL\n")
    assert counting(ward) == {}


def test_who_was_told_the_models_answer_before_gives_no_blind_word_and_is_told_so(
    ward: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(ward)
    path = members(ward)[0]["path"]
    review(load(tmp_path), path, "NORMAL", "Dr. A", None, None)
    assert "the model said" in capsys.readouterr().out
    take(tmp_path, "number,label\n1,NORMAL\n")
    assert "1 of them are not taken as blind" in capsys.readouterr().err
    assert counting(ward) == {}
    review(load(tmp_path), path, "PNEUMONIA", "Dr. B", None, None, draw=1)
    assert "the model" not in capsys.readouterr().out
    assert counting(ward) == {1: "PNEUMONIA"}


def test_a_seniors_role_is_that_of_the_day_of_the_word(
    ward: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(ward)
    monkeypatch.setenv("PNEUMOSCREEN_SENIOR_READERS", '["Dr. S"]')
    take(tmp_path, "number,label\n1,PNEUMONIA\n", by="Dr. S")
    monkeypatch.delenv("PNEUMOSCREEN_SENIOR_READERS")
    take(tmp_path, "number,label\n1,NORMAL\n", by="Dr. A")
    take(tmp_path, "number,label\n1,NORMAL\n", by="Dr. B")
    assert counting(ward) == {1: "PNEUMONIA"}


def test_a_reader_takes_back_all_of_their_words_on_an_image_and_nobody_elses(
    ward: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(ward)
    path = members(ward)[0]["path"]
    for label in ("NORMAL", "PNEUMONIA"):
        take(tmp_path, f"number,label\n1,{label}\n")
    with pytest.raises(WorkFailed, match=r"no word of Dr\. B stands"):
        review(load(tmp_path), path, None, "Dr. B", None, None, withdraw=True)
    review(load(tmp_path), path, None, "Dr. A", None, None, withdraw=True)
    assert "2 words of Dr. A taken back" in capsys.readouterr().out
    assert counting(ward) == {}
    with ward.read() as session:
        kept = session.execute(text("SELECT label, withdrawn_by FROM reviews ORDER BY id")).all()
        actions = session.execute(text("SELECT action FROM audit_log WHERE actor = 'Dr. A' ORDER BY id")).scalars()
        assert list(actions) == ["review", "review", "withdraw"]
    assert [tuple(row) for row in kept] == [("NORMAL", "Dr. A"), ("PNEUMONIA", "Dr. A")]
    take(tmp_path, "number,label\n1,NORMAL\n")
    assert counting(ward) == {1: "NORMAL"}, "whoever took a word back may say it again"


@pytest.mark.parametrize(
    "given", [{"which": None}, {"label": "NORMAL"}, {"blind": True}, {"draw": 1}], ids=lambda given: next(iter(given))
)
def test_a_word_is_taken_back_by_image_and_name_alone(tmp_path: Path, given: dict[str, Any]) -> None:
    values: dict[str, Any] = {"which": "a.png", "label": None, "blind": False, "draw": None, **given}
    with pytest.raises(InvalidRequest, match="--withdraw takes an image and --by NAME alone"):
        review(
            load(tmp_path),
            values["which"],
            values["label"],
            "Dr. A",
            None,
            None,
            blind=values["blind"],
            draw=values["draw"],
            withdraw=True,
        )
