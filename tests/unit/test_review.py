"""A reader's word on an image: appended, never overwritten, the last one counts."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from cli import results as cli_results
from cli.review import review
from shared.database import Database
from shared.errors import WorkFailed, WrongSettings
from shared.ledger.register import register
from shared.ledger.work import Quarantined
from shared.settings import load
from tests.unit.steps import NOW, claim, file, finish, in_hand, rows, screened, send_all

Review = Callable[..., None]


@pytest.fixture
def say(tmp_path: Path, database: Database) -> Review:
    def say(
        target: str | None = None,
        label: str | None = None,
        by: str | None = "Dr. Okafor",
        note: str | None = None,
        csv: str | bytes | None = None,
    ) -> None:
        path = None
        if csv is not None:
            path = tmp_path / "words.csv"
            path.write_bytes(csv if isinstance(csv, bytes) else csv.encode())
        review(load(tmp_path), target, label, by, note, path)

    return say


@pytest.fixture
def images(database: Database) -> None:
    """`a.png` and its copy, screened as PNEUMONIA; `b.png`, screened as NORMAL."""
    a, copy, b = in_hand(database, "a.png", "copy.png", "b.png")
    finish(database, screened(a, 0.9, content="a"), screened(copy, 0.9, content="a"), screened(b, 0.1, content="b"))


def reviewed(database: Database) -> dict[str, str | None]:
    return {row["path"]: row["reviewed_label"] for row in rows(database)}


def words(database: Database) -> list[tuple[str, str, str | None]]:
    with database.read() as session:
        return [tuple(row) for row in session.execute(text("SELECT label, reviewer, note FROM reviews ORDER BY id"))]  # type: ignore[misc]


@pytest.mark.usefixtures("images")
def test_a_word_on_an_image_counts_for_its_content_under_every_name(say: Review, database: Database) -> None:
    say("a.png", "normal")
    assert reviewed(database) == {"a.png": "NORMAL", "copy.png": "NORMAL", "b.png": None}


@pytest.mark.usefixtures("images")
def test_the_last_word_counts_and_all_words_are_kept(say: Review, database: Database) -> None:
    say("a.png", "NORMAL", note="rotated")
    say("copy.png", "PNEUMONIA", by="Dr. Weiss")
    assert reviewed(database)["a.png"] == "PNEUMONIA"
    assert words(database) == [("NORMAL", "Dr. Okafor", "rotated"), ("PNEUMONIA", "Dr. Weiss", None)]


@pytest.mark.usefixtures("images")
def test_an_image_can_be_named_by_its_number(say: Review, database: Database) -> None:
    number = next(row["sighting_id"] for row in rows(database) if row["path"] == "b.png")
    say(str(number), "PNEUMONIA")
    assert reviewed(database)["b.png"] == "PNEUMONIA"


@pytest.mark.usefixtures("images")
def test_the_answer_tells_what_the_model_said(say: Review, capsys: pytest.CaptureFixture[str]) -> None:
    say("a.png", "NORMAL")
    assert capsys.readouterr().out == "a.png: Dr. Okafor says NORMAL, the model said PNEUMONIA.\n"


@pytest.mark.usefixtures("images")
def test_who_said_something_stands_in_the_audit_log_without_the_images_name(say: Review, database: Database) -> None:
    say("a.png", "NORMAL")
    with database.read() as session:
        entries = session.execute(text("SELECT actor, action, detail FROM audit_log")).all()
    assert entries == [("Dr. Okafor", "review", "1 image: NORMAL")]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "Say which image"),
        ({"target": "a.png"}, "Say which image"),
        ({"target": "a.png", "label": "HEALTHY"}, "a label is NORMAL or PNEUMONIA"),
        ({"target": "a.png", "label": "NORMAL", "by": None}, "--by NAME"),
        ({"target": "a.png", "label": "NORMAL", "by": " "}, "--by NAME"),
        ({"target": "a.png", "label": "NORMAL", "csv": "path,label"}, "not both"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(
    say: Review, database: Database, arguments: dict[str, str], sentence: str
) -> None:
    with pytest.raises(WrongSettings, match=sentence):
        say(**arguments)
    assert words(database) == []


def test_an_image_that_is_unknown_or_not_read_yet_is_refused(say: Review, database: Database) -> None:
    in_hand(database, "waiting.png")
    for target, sentence in (
        ("none.png", "there is no image"),
        ("77", "there is no image"),
        ("waiting.png", "not read"),
    ):
        with pytest.raises(WorkFailed, match=sentence):
            say(target, "NORMAL")


def test_a_quarantined_image_can_be_reviewed_if_it_was_read(say: Review, database: Database) -> None:
    (claimed,) = in_hand(database, "lateral.dcm")
    finish(database, Quarantined(claimed, "the view is LL", "c" * 64))
    say("lateral.dcm", "PNEUMONIA")
    assert reviewed(database) == {"lateral.dcm": "PNEUMONIA"}


def test_a_path_that_stands_for_different_images_must_be_named_by_number(say: Review, database: Database) -> None:
    (one,) = in_hand(database, "a.png")
    finish(database, screened(one, content="a"))
    with database.write() as session:
        register(session, "clinic", "routine", [file()], NOW)
    (other,) = claim(database, send_all(database))
    finish(database, screened(other, content="b"))
    with pytest.raises(WorkFailed, match=rf"{other.sighting} in clinic, {one.sighting} in ward"):
        say("a.png", "NORMAL")
    say(str(other.sighting), "NORMAL")
    assert sorted((row["root"], row["reviewed_label"]) for row in rows(database)) == [
        ("clinic", "NORMAL"),
        ("ward", None),
    ]


CSVS = {
    "commas": "path,label,note\na.png,NORMAL,fine\nb.png,pneumonia,\n",
    "semicolons, capitals and a mark": "\ufeffPath;Label;Note\r\na.png;NORMAL;fine\r\nb.png;PNEUMONIA;\r\n",
    "tabs and contents": f"sha256\tlabel\tnote\n{'A' * 64}\tNORMAL\tfine\n{'b' * 64}\tPNEUMONIA\t\n",
}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("csv", CSVS.values(), ids=CSVS.keys())
def test_many_words_come_from_a_csv_file(say: Review, database: Database, csv: str) -> None:
    say(csv=csv)
    assert words(database) == [("NORMAL", "Dr. Okafor", "fine"), ("PNEUMONIA", "Dr. Okafor", None)]
    assert reviewed(database) == {"a.png": "NORMAL", "copy.png": "NORMAL", "b.png": "PNEUMONIA"}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("time", ["", "2026-01-31T08:00", "2026-01-31 08:00:00+02:00"])
def test_the_same_file_imported_twice_adds_nothing(
    say: Review, database: Database, time: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        say(csv=f"path,label,by,reviewed_at\na.png,NORMAL,Dr. Weiss,{time}\nb.png,NORMAL,Dr. Weiss,{time}\n")
    assert words(database) == [("NORMAL", "Dr. Weiss", None)] * 2
    assert "0 reviews were added, 2 were known already" in capsys.readouterr().out


@pytest.mark.usefixtures("images")
def test_one_bad_line_and_nothing_is_taken_and_every_bad_line_is_named(say: Review, database: Database) -> None:
    lines = ["a.png,NORMAL,", "none.png,NORMAL,", "a.png,SICK,", ",NORMAL,", "a.png,NORMAL,yesterday"]
    with pytest.raises(WorkFailed) as error:
        say(csv="path,label,reviewed_at\n" + "\n".join(lines))
    assert words(database) == []
    sentence = str(error.value)
    assert sentence.startswith("4 of 5 lines")
    for part in ("line 3: there is no image", "line 4: a label is", "line 5: it names no image", "line 6: reviewed_at"):
        assert part in sentence


@pytest.mark.usefixtures("images")
def test_of_many_bad_lines_the_first_are_named(say: Review) -> None:
    with pytest.raises(WorkFailed, match="and 30 more"):
        say(csv="path,label\n" + "none.png,NORMAL\n" * 50)


@pytest.mark.parametrize("csv", ["", "a.png,NORMAL\n", "path;verdict\n", b"\xff\xfe\x00"])
def test_a_file_without_the_columns_is_refused(say: Review, database: Database, csv: str | bytes) -> None:
    with pytest.raises(WrongSettings, match=r"needs a first line|cannot be read"):
        say(csv=csv)


def to_review(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    capsys.readouterr()
    cli_results.results(load(tmp_path), cli_results.Filters(to_review=True), None, "csv", False)
    return [[*line.split(",")[:1], line.split(",")[3]] for line in capsys.readouterr().out.splitlines()[1:]]


def test_a_reader_sees_first_what_is_unfamiliar_then_near_the_threshold_then_positive(
    say: Review, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probabilities = {
        "sure": 0.99,
        "likely": 0.8,
        "near": 0.45,
        "nearer": 0.55,
        "clear": 0.01,
        "odd": 0.02,
        "adult": 0.03,
    }
    claimed = dict(zip(probabilities, in_hand(database, *probabilities), strict=True))
    for name, probability in probabilities.items():
        finish(database, screened(claimed[name], probability, content=f"{list(probabilities).index(name)}"))
    with database.write() as session:
        yes = "TRUE"
        session.execute(text(f"UPDATE predictions SET unfamiliar = {yes} WHERE probability = 0.02"))
        session.execute(text(f"UPDATE predictions SET outside_population = {yes} WHERE probability = 0.03"))
    expected = [
        ["unfamiliar", "odd"],
        ["near the threshold", "nearer"],
        ["near the threshold", "near"],
        ["positive", "sure"],
        ["positive", "likely"],
        ["outside the population", "adult"],
    ]
    assert to_review(tmp_path, capsys) == expected
    say("odd", "NORMAL")
    say("sure", "PNEUMONIA")
    assert to_review(tmp_path, capsys) == [row for row in expected if row[1] not in ("odd", "sure")]


def test_the_list_for_readers_does_not_go_with_the_history(tmp_path: Path, database: Database) -> None:
    with pytest.raises(WrongSettings, match="--history"):
        cli_results.results(load(tmp_path), cli_results.Filters(to_review=True), None, "csv", True)
