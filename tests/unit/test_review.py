"""A reader's word on an image: appended, never overwritten, the last one counts."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, text

from cli.results import results
from cli.review import review
from queries.results import Filters
from shared.base.errors import InvalidRequest, PneumoscreenError, WorkFailed
from shared.base.settings import load
from shared.database import Database
from shared.ledger.register import register
from shared.ledger.work import Quarantined, Screened
from tests.unit.steps import NOW, claim, file, finish, in_hand, rows, screened, send_all

Review = Callable[..., None]


@pytest.fixture
def say(tmp_path: Path, database: Database) -> Review:
    def say(
        target: str | None = None,
        label: str | None = None,
        by: str | None = "Dr. Okafor",
        note: str | None = None,
        csv_text: str | bytes | None = None,
    ) -> None:
        path = None
        if csv_text is not None:
            path = tmp_path / "words.csv"
            path.write_bytes(csv_text if isinstance(csv_text, bytes) else csv_text.encode())
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
    assert entries == [("Dr. Okafor", "review", "sighting 1: NORMAL")]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "Say which image"),
        ({"target": "a.png"}, "Say which image"),
        ({"target": "a.png", "label": "HEALTHY"}, "a label is NORMAL, PNEUMONIA, UNCLEAR, NOT_READABLE, not"),
        ({"target": "a.png", "label": "NORMAL", "by": None}, "--by NAME"),
        ({"target": "a.png", "label": "NORMAL", "by": " "}, "--by NAME"),
        ({"target": "a.png", "label": "NORMAL", "csv_text": "path,label"}, "not both"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(
    say: Review, database: Database, arguments: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        say(**arguments)
    assert words(database) == []


def test_an_image_that_is_unknown_or_not_read_yet_is_refused(say: Review, database: Database) -> None:
    in_hand(database, "waiting.png")
    (damaged,) = in_hand(database, file("damaged.png", second=7))
    finish(database, Quarantined(damaged, "too large"))
    for target, sentence in (
        ("none.png", "there is no image"),
        ("77", "there is no image"),
        ("waiting.png", "not read yet"),
        ("damaged.png", "was not screened .too large., .* mend"),
        ("9" * 30, "there is no image"),
    ):
        with pytest.raises(WorkFailed, match=sentence):
            say(target, "NORMAL")


EMPTY = hashlib.sha256(b"").hexdigest()


def word_of(database: Database) -> dict[str, str | None]:
    return {row["path"]: row["reviewed_word"] for row in rows(database)}


@pytest.mark.parametrize("label", ["NORMAL", "PNEUMONIA", "UNCLEAR"])
def test_no_word_is_taken_on_pixels_that_were_not_screened(say: Review, database: Database, label: str) -> None:
    """Every empty file has the same content: a word on one would show on all."""
    (empty,) = in_hand(database, "empty.png")
    finish(database, Quarantined(empty, "the file is empty", EMPTY))
    with pytest.raises(WorkFailed, match=r"was not screened .the file is empty.*NOT_READABLE"):
        say("empty.png", label)
    with pytest.raises(WorkFailed, match=r"line 2: .empty.png. was not screened"):
        say(csv_text=f"path,label\nempty.png,{label}\n")
    assert words(database) == []


@pytest.mark.parametrize("csv_text", [None, "path,label\nempty.png,not_readable\n"])
def test_a_quarantined_image_may_be_called_not_readable_and_it_alone_is(
    say: Review, database: Database, csv_text: str | None
) -> None:
    empty, another = in_hand(database, "empty.png", "another.png")
    finish(database, Quarantined(empty, "the file is empty", EMPTY), Quarantined(another, "the file is empty", EMPTY))
    for _ in range(2):
        say(csv_text=csv_text) if csv_text else say("empty.png", "NOT_READABLE")
    assert word_of(database) == {"empty.png": "NOT_READABLE", "another.png": None}
    assert reviewed(database) == {"empty.png": None, "another.png": None}
    with database.read() as session:
        subjects = set(session.execute(text("SELECT sha256, sighting_id FROM reviews")).all())
    assert subjects == {(None, empty.sighting)}
    assert len(words(database)) == (1 if csv_text else 2), "a file that is imported again adds nothing"


@pytest.mark.usefixtures("images")
def test_not_readable_is_said_of_one_image_and_the_word_on_its_content_stays(say: Review, database: Database) -> None:
    say("a.png", "NORMAL")
    say("copy.png", "NOT_READABLE")
    assert word_of(database) == {"a.png": "NORMAL", "copy.png": "NOT_READABLE", "b.png": None}
    assert reviewed(database) == {"a.png": "NORMAL", "copy.png": None, "b.png": None}
    with pytest.raises(WorkFailed, match="several images"):
        say("a" * 64, "NOT_READABLE")


@pytest.mark.usefixtures("images")
def test_unclear_is_a_word_but_no_label(say: Review, database: Database) -> None:
    say("a.png", "NORMAL")
    say("a.png", "unclear")
    assert word_of(database)["copy.png"] == "UNCLEAR"
    assert reviewed(database)["copy.png"] is None


@pytest.mark.usefixtures("images")
def test_every_word_says_which_image_was_looked_at(say: Review, database: Database) -> None:
    say("copy.png", "NORMAL")
    say(csv_text="path,label\nb.png,PNEUMONIA\n")
    numbers = {row["path"]: row["sighting_id"] for row in rows(database)}
    with database.read() as session:
        looked_at = session.scalars(text("SELECT sighting_id FROM reviews ORDER BY id")).all()
    assert looked_at == [numbers["copy.png"], numbers["b.png"]]


def test_an_image_that_waits_cannot_be_called_not_readable(say: Review, database: Database) -> None:
    in_hand(database, "waiting.png")
    with pytest.raises(WorkFailed, match="not read yet"):
        say("waiting.png", "NOT_READABLE")


def test_a_path_that_stands_for_different_images_must_be_named_by_number(say: Review, database: Database) -> None:
    (one,) = in_hand(database, "a.png")
    finish(database, screened(one, content="a"))
    with database.write() as session:
        register(session, "clinic", "routine", [file()], NOW)
    (other,) = claim(database, send_all(database))
    finish(database, screened(other, content="b"))
    with pytest.raises(WorkFailed, match=rf"{other.sighting} is clinic/a.png, {one.sighting} is ward/a.png"):
        say("a.png", "NORMAL")
    say(str(other.sighting), "NORMAL")
    assert sorted((row["root"], row["reviewed_label"]) for row in rows(database)) == [
        ("clinic", "NORMAL"),
        ("ward", None),
    ]


@pytest.mark.usefixtures("images")
def test_an_image_can_be_named_with_its_folder(say: Review, database: Database) -> None:
    say("ward/b.png", "PNEUMONIA")
    say(csv_text="path,label\nward/a.png,NORMAL\n")
    assert reviewed(database) == {"a.png": "NORMAL", "copy.png": "NORMAL", "b.png": "PNEUMONIA"}
    for target in ("clinic/b.png", "war/b.png", "ward/none.png", "wardb.png"):
        with pytest.raises(WorkFailed, match="there is no image"):
            say(target, "NORMAL")


def test_a_name_that_could_be_a_path_or_a_folder_s_is_refused(say: Review, database: Database) -> None:
    with database.write() as session:
        register(session, "clinic", "routine", [file("ward/a.png")], NOW)
    (inner,), (outer,) = claim(database, send_all(database)), in_hand(database, "a.png")
    finish(database, screened(inner, content="a"), screened(outer, content="b"))
    with pytest.raises(WorkFailed, match=r"is ward/a\.png, \d+ is clinic/ward/a\.png"):
        say("ward/a.png", "NORMAL")
    say("clinic/ward/a.png", "NORMAL")
    assert reviewed(database) == {"ward/a.png": "NORMAL", "a.png": None}


def test_an_image_can_be_named_as_it_was_given_to_screen(say: Review, database: Database) -> None:
    """The newest copy counts: the file may have been replaced between."""
    for number, content in enumerate("ab"):
        with database.write() as session:
            register(session, "submitted", "routine", [file(f"{number}/a.png")], NOW, origin="/archive/a.png")
        finish(database, screened(claim(database, send_all(database))[0], content=content))
    say("/archive/a.png", "NORMAL")
    say(csv_text="path,label\n/archive/a.png,PNEUMONIA\n")
    assert reviewed(database) == {"0/a.png": None, "1/a.png": "PNEUMONIA"}
    assert len(words(database)) == 2


@pytest.mark.usefixtures("images")
def test_the_bar_of_an_import_says_what_is_done_so_far(say: Review, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WorkFailed, match="none was taken"):
        say(csv_text="path,label\na.png,NORMAL\nnone.png,NORMAL\n")
    told = capsys.readouterr().err
    assert "checking lines" in told and "recording" not in told


CSVS = {
    "commas": "path,label,note\na.png,NORMAL,fine\nb.png,pneumonia,\n",
    "semicolons, capitals and a mark": "\ufeffPath;Label;Note\r\na.png;NORMAL;fine\r\nb.png;PNEUMONIA;\r\n",
    "tabs and contents": f"sha256\tlabel\tnote\n{'A' * 64}\tNORMAL\tfine\n{'b' * 64}\tPNEUMONIA\t\n",
}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("csv_text", CSVS.values(), ids=CSVS.keys())
def test_many_words_come_from_a_csv_file(say: Review, database: Database, csv_text: str) -> None:
    say(csv_text=csv_text)
    assert words(database) == [("NORMAL", "Dr. Okafor", "fine"), ("PNEUMONIA", "Dr. Okafor", None)]
    assert reviewed(database) == {"a.png": "NORMAL", "copy.png": "NORMAL", "b.png": "PNEUMONIA"}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("time", ["", "2026-01-31T08:00", "2026-01-31 08:00:00+02:00"])
def test_the_same_file_imported_twice_adds_nothing(
    say: Review, database: Database, time: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        say(csv_text=f"path,label,by,reviewed_at\na.png,NORMAL,Dr. Weiss,{time}\nb.png,NORMAL,Dr. Weiss,{time}\n")
    assert words(database) == [("NORMAL", "Dr. Weiss", None)] * 2
    assert "0 reviews were added, 2 were known already" in capsys.readouterr().out


@pytest.mark.usefixtures("images")
def test_one_bad_line_and_nothing_is_taken_and_every_bad_line_is_named(say: Review, database: Database) -> None:
    lines = ["a.png,NORMAL,", "none.png,NORMAL,", "a.png,SICK,", ",NORMAL,", "a.png,NORMAL,yesterday"]
    with pytest.raises(WorkFailed) as error:
        say(csv_text="path,label,reviewed_at\n" + "\n".join(lines))
    assert words(database) == []
    sentence = str(error.value)
    assert sentence.startswith("4 of 5 lines")
    for part in ("line 3: there is no image", "line 4: a label is", "line 5: it names no image", "line 6: reviewed_at"):
        assert part in sentence


@pytest.mark.usefixtures("images")
def test_of_many_bad_lines_the_first_are_named(say: Review) -> None:
    with pytest.raises(WorkFailed, match="and 30 more"):
        say(csv_text="path,label\n" + "none.png,NORMAL\n" * 50)


@pytest.mark.parametrize("csv_text", ["", "a.png,NORMAL\n", "path;verdict\n", b"\xff\xfe\x00"])
def test_a_file_without_the_columns_is_refused(say: Review, database: Database, csv_text: str | bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"needs a first line|cannot be read"):
        say(csv_text=csv_text)


@pytest.mark.usefixtures("images")
def test_a_list_of_results_comes_back_with_the_readers_words_and_without_the_models(
    say: Review, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results(load(tmp_path), Filters(to_review=True), format="csv")
    listed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for row in listed:
        row["reviewed_label"] = {"b.png": "PNEUMONIA"}.get(row["path"], "")
    filled_in = io.StringIO()
    writer = csv.DictWriter(filled_in, listed[0])
    writer.writeheader()
    writer.writerows(listed)
    say(csv_text=filled_in.getvalue())
    assert reviewed(database) == {"a.png": None, "copy.png": None, "b.png": "PNEUMONIA"}
    assert "1 reviews were added, 0 were known already, 1 lines have no word yet." in capsys.readouterr().out


@pytest.mark.usefixtures("images")
def test_what_the_model_said_is_never_taken_for_a_readers_word(say: Review, database: Database) -> None:
    with pytest.raises(InvalidRequest, match="`label` is what the model said"):
        say(csv_text="path,label,probability\na.png,PNEUMONIA,0.9\n")
    assert words(database) == []


@pytest.mark.usefixtures("images")
def test_words_on_copies_of_one_image_are_all_kept_and_not_added_twice(say: Review, database: Database) -> None:
    said = "path,label,note\na.png,NORMAL,\ncopy.png,PNEUMONIA,\na.png,PNEUMONIA,rotated\n"
    for _ in range(2):
        say(csv_text=said)
    expected = [("NORMAL", None), ("PNEUMONIA", None), ("PNEUMONIA", "rotated")]
    assert words(database) == [(label, "Dr. Okafor", note) for label, note in expected]


@pytest.mark.usefixtures("images")
def test_a_changed_mind_is_added_again(say: Review, database: Database) -> None:
    for label in ("NORMAL", "PNEUMONIA", "NORMAL", "NORMAL"):
        say(csv_text=f"path,label\na.png,{label}\n")
    assert [label for label, *_ in words(database)] == ["NORMAL", "PNEUMONIA", "NORMAL"]


@pytest.mark.usefixtures("images")
def test_words_of_a_file_are_recorded_in_the_order_in_which_they_were_said(say: Review, database: Database) -> None:
    late, early = "a.png,NORMAL,2026-02-01T00:00Z", "copy.png,PNEUMONIA,2026-01-31"
    say(csv_text=f"path,label,reviewed_at\n{late}\n{early}\n")
    assert [label for label, *_ in words(database)] == ["PNEUMONIA", "NORMAL"]
    assert reviewed(database)["a.png"] == "NORMAL"


@pytest.mark.usefixtures("images")
def test_the_last_word_is_the_one_said_last_whatever_is_imported_later(say: Review, database: Database) -> None:
    say(csv_text="path,label,reviewed_at\na.png,PNEUMONIA,2026-03-01\n")
    say(csv_text="path,label,reviewed_at\na.png,NORMAL,2026-01-01\n")
    assert reviewed(database)["a.png"] == "PNEUMONIA"
    say(csv_text="path,label\na.png,NORMAL\n")
    assert reviewed(database)["a.png"] == "NORMAL"


@pytest.mark.usefixtures("images")
def test_an_import_stands_in_the_audit_log_once_for_each_reviewer(say: Review, database: Database) -> None:
    say(csv_text="path,label,by\na.png,NORMAL,Dr. Weiss\nb.png,NORMAL,\nb.png,NORMAL,Dr. Weiss\n")
    with database.read() as session:
        entries = session.execute(text("SELECT actor, detail FROM audit_log ORDER BY actor")).all()
    assert entries == [("Dr. Okafor", "1 images from a file"), ("Dr. Weiss", "2 images from a file")]


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.png,NORMAL,one, two", "more cells"),
        ("a.png", "a label is"),
        ('a.png,NORMAL,"one', "is no CSV file"),
        ("a.png,NORMAL," + "x" * 200_000, "is no CSV file"),
        ("a.png,NORMAL,a\0b", "zero byte"),
    ],
)
def test_a_damaged_line_is_refused_with_a_sentence(say: Review, database: Database, line: str, reason: str) -> None:
    with pytest.raises(PneumoscreenError, match=reason):
        say(csv_text=f"path,label,note\n{line}\n")
    assert words(database) == []


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("time", ["0001-01-01T00:00+10:00", "3026-01-31", "31.01.2026"])
def test_a_time_that_cannot_be_is_refused(say: Review, database: Database, time: str) -> None:
    with pytest.raises(WorkFailed, match="line 2: reviewed_at"):
        say(csv_text=f"path,label,reviewed_at\na.png,NORMAL,{time}\n")


@pytest.mark.usefixtures("images")
def test_a_note_of_several_lines_is_one_note(say: Review, database: Database) -> None:
    say(csv_text='path,label,note\na.png,NORMAL,"one\ntwo"\nb.png,NORMAL,one\u2028two\n')
    assert [note for *_, note in words(database)] == ["one\ntwo", "one\u2028two"]


def test_a_name_that_is_not_valid_utf_8_is_found_as_the_shell_gives_it(say: Review, database: Database) -> None:
    (claimed,) = in_hand(database, "inv\udcff.png")
    finish(database, screened(claimed))
    say("inv\udcff.png", "NORMAL", by="Dr. \udcff")
    say("inv\\xff.png", "PNEUMONIA")
    assert [label for label, *_ in words(database)] == ["NORMAL", "PNEUMONIA"]


def test_a_file_that_is_named_like_a_number_is_meant_by_that_name(say: Review, database: Database) -> None:
    first, numbered = in_hand(database, "a.png", "1")
    assert first.sighting == 1
    finish(database, screened(first, content="a"), screened(numbered, content="b"))
    say("1", "NORMAL")
    assert reviewed(database) == {"a.png": None, "1": "NORMAL"}


@pytest.fixture
def statements() -> Iterator[list[str]]:
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


def test_thousands_of_words_are_taken_at_once(say: Review, database: Database, statements: list[str]) -> None:
    names = [f"{number}.png" for number in range(1000)]
    finish(
        database,
        *(
            Screened(claimed, f"{claimed.sighting:064x}", "v1", 0.9, 0.5, "PNEUMONIA")
            for claimed in in_hand(database, *names)
        ),
    )
    said = "path,label\n" + "".join(f"{name},NORMAL\n" for name in names * 3)
    statements.clear()
    say(csv_text=said)
    assert len(words(database)) == 1000
    assert len(statements) < 50, "rows are looked up one by one, while nobody else can write"
