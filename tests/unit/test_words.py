"""Which word counts on a drawn image, on an audit sample, and for training."""

from datetime import datetime
from typing import Any

import pytest

from shared.database import AuditSample, Database, Draw, DrawMember, Review
from shared.ledger import words
from tests.unit.steps import NOW, after, finish, in_hand, screened

DIGEST = "a" * 64


@pytest.fixture
def drawn(database: Database) -> Database:
    """One image, screened, and a member of two draws."""
    (image,) = in_hand(database, "a.png")
    finish(database, screened(image))
    with database.write() as session:
        for number in (1, 2):
            session.add(
                Draw(
                    id=number,
                    source="ward",
                    model_version="v1",
                    seed=1,
                    until=NOW,
                    created_by="Ada",
                    created_at=NOW,
                )
            )
        session.flush()
        for number in (1, 2):
            member = {"sighting_id": image.sighting, "sha256": DIGEST, "prediction_id": 1}
            session.add(DrawMember(draw_id=number, number=7, stratum=3, inclusion=0.25, **member))
    return database


def say(database: Database, *sayings: tuple[str, str], **more: Any) -> None:
    """Words of readers, one second after the other: blind and for the first draw, if nothing else is said."""
    with database.write() as session:
        count = session.query(Review).count()
        for number, (reader, label) in enumerate(sayings, start=count):
            given = {"method": "csv", "is_blind": True, "draw_id": 1, "is_senior": False, **more}
            session.add(Review(sha256=DIGEST, label=label, reviewer=reader, created_at=after(number), **given))


def counting(database: Database) -> str | None:
    with database.read() as session:
        (word,) = words.words_of_draw(session, 1)
    return word.label


def training(database: Database) -> dict[str, Any]:
    with database.read() as session:
        return words.labels_that_train(session)


def test_a_member_of_a_draw_that_nobody_has_read_has_no_word_and_is_not_left_out(drawn: Database) -> None:
    with drawn.read() as session:
        (word,) = words.words_of_draw(session, 1)
    assert (word.number, word.stratum, word.inclusion, word.sha256) == (7, 3, 0.25, DIGEST)
    assert (word.patient, word.label, word.readers) == (DIGEST, None, 0)


def test_of_one_readers_words_the_newest_counts(drawn: Database) -> None:
    say(drawn, ("A", "NORMAL"), ("A", "PNEUMONIA"))
    assert counting(drawn) == "PNEUMONIA"


def test_of_two_readers_who_contradict_each_other_the_newest_counts_until_two_agree(drawn: Database) -> None:
    say(drawn, ("A", "NORMAL"), ("B", "PNEUMONIA"))
    assert counting(drawn) == "PNEUMONIA"
    say(drawn, ("C", "NORMAL"), ("D", "UNCLEAR"))
    assert counting(drawn) == "NORMAL"
    say(drawn, ("E", "PNEUMONIA"))
    assert counting(drawn) == "PNEUMONIA", "two say the one, two the other"


def test_a_seniors_word_outweighs_all_others_and_of_two_seniors_the_newest_does(drawn: Database) -> None:
    say(drawn, ("S", "PNEUMONIA"), is_senior=True)
    say(drawn, ("A", "NORMAL"), ("B", "NORMAL"))
    assert counting(drawn) == "PNEUMONIA"
    say(drawn, ("T", "NORMAL"), is_senior=True)
    assert counting(drawn) == "NORMAL"


@pytest.mark.parametrize("is_senior", [False, True])
def test_who_calls_an_image_unclear_takes_the_earlier_word_back(drawn: Database, is_senior: bool) -> None:
    say(drawn, ("A", "PNEUMONIA"), is_senior=is_senior)
    say(drawn, ("B", "NORMAL"))
    say(drawn, ("A", "UNCLEAR"), is_senior=is_senior)
    assert counting(drawn) == "NORMAL"


def test_two_readers_who_cannot_tell_are_readers_without_a_word_that_counts(drawn: Database) -> None:
    say(drawn, ("A", "UNCLEAR"), ("B", "NOT_READABLE"))
    with drawn.read() as session:
        (word,) = words.words_of_draw(session, 1)
    assert (word.label, word.readers) == (None, 2)


@pytest.mark.parametrize(
    "given",
    [
        {"is_blind": False},
        {"is_blind": None, "method": None, "draw_id": None, "is_senior": None},
        {"method": "batch"},
        {"draw_id": None},
        {"withdrawn_at": NOW, "withdrawn_by": "A"},
    ],
    ids=["in sight of the model's answer", "of an older schema", "one for many", "of no draw", "withdrawn"],
)
def test_on_a_draw_only_blind_single_standing_words_count_that_a_draw_asked_for(
    drawn: Database, given: dict[str, Any]
) -> None:
    say(drawn, ("A", "NORMAL"), **given)
    assert counting(drawn) is None
    say(drawn, ("B", "PNEUMONIA"))
    assert counting(drawn) == "PNEUMONIA", "the other one does not contradict it"


def test_a_word_for_one_draw_counts_in_another_that_has_the_same_image(drawn: Database) -> None:
    say(drawn, ("A", "NORMAL"), draw_id=2)
    assert counting(drawn) == "NORMAL"


@pytest.mark.parametrize(
    ("given", "is_learned_from"),
    [
        ({}, True),
        ({"draw_id": None}, True),
        ({"is_blind": None, "method": None, "draw_id": None, "is_senior": None}, True),
        ({"is_blind": False}, False),
        ({"method": "batch"}, False),
        ({"withdrawn_at": NOW, "withdrawn_by": "A"}, False),
    ],
    ids=["of a draw", "blind", "of an older schema", "in sight of the answer", "one for many", "withdrawn"],
)
def test_blind_words_and_those_of_older_schemas_train(
    drawn: Database, given: dict[str, Any], is_learned_from: bool
) -> None:
    say(drawn, ("A", "NORMAL"), **given)
    assert training(drawn) == ({DIGEST: "NORMAL"} if is_learned_from else {})


def test_from_what_readers_cannot_tell_nothing_is_learned(drawn: Database) -> None:
    say(drawn, ("A", "NORMAL"), ("A", "UNCLEAR"))
    assert training(drawn) == {DIGEST: None}


def test_a_training_looks_at_no_word_that_is_newer_than_it(drawn: Database) -> None:
    say(drawn, ("A", "NORMAL"), ("A", "PNEUMONIA"))
    with drawn.read() as session:
        assert words.labels_that_train(session, newest=1) == {DIGEST: "NORMAL"}


def sample(database: Database, drawn_at: datetime = NOW) -> None:
    with database.write() as session:
        values = {"source": "ward", "sha256": DIGEST, "prediction_id": 1, "label": "PNEUMONIA"}
        session.add(AuditSample(sighting_id=1, inclusion=0.05, drawn_at=drawn_at, **values))


def test_on_an_audit_sample_blind_words_count_whether_or_not_a_draw_asked_for_them(drawn: Database) -> None:
    sample(drawn)
    say(drawn, ("A", "NORMAL"), is_blind=False, draw_id=None)
    say(drawn, ("B", "PNEUMONIA"), draw_id=None)
    with drawn.read() as session:
        (word,) = words.words_of_audit(session, "ward", None, None)
    assert (word.label, word.said, word.stratum, word.inclusion) == ("PNEUMONIA", "PNEUMONIA", words.REST, 0.05)
    assert (word.source, word.model_version, word.drawn_at, word.readers) == ("ward", "v1", NOW, 1)


def test_audit_samples_are_chosen_by_source_and_time(drawn: Database) -> None:
    sample(drawn, after(10))
    with drawn.read() as session:
        chosen = [
            len(words.words_of_audit(session, source, since, until))
            for source, since, until in (
                (None, None, None),
                ("other", None, None),
                ("ward", after(10), after(11)),
                ("ward", after(11), None),
                ("ward", None, after(10)),
            )
        ]
    assert chosen == [1, 0, 1, 0, 0]
