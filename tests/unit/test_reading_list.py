"""Whose word an image needs next, and where it stands on the list."""

from typing import Any

import pytest
from sqlalchemy import select

from actions import draws
from actions.reviews import Manner, ReviewEntry, review
from actions.withdrawal import withdraw
from shared.base.source_settings import AuditShare, Reading, ReadingRule
from shared.database import Database, ReadingItem, ReviewLabel, ReviewMethod, WaitsFor
from shared.ledger import reading_list, work
from shared.ledger.reading_list import StandingWord, waits_for
from shared.ledger.screenings import Figures
from tests.unit.steps import NOW, after, file, finish, in_hand, rows, screened

ASSISTED = ReadingRule(Reading.ASSISTED, 0.0)
BLIND = ReadingRule(Reading.BLIND, 0.0)


def word(reader: str, label: str, **more: Any) -> StandingWord:
    given = {"is_blind": True, "is_batch": False, "is_senior": False, "other_finding": False, **more}
    return StandingWord(reader, label, 1, **given)


@pytest.mark.parametrize(
    ("words", "wanted", "drawn", "expected"),
    [
        ([], 1, False, WaitsFor.FIRST),
        ([word("A", "NORMAL")], 1, False, None),
        ([word("A", "NORMAL")], 2, False, WaitsFor.SECOND),
        ([word("A", "NORMAL"), word("B", "NORMAL")], 2, False, None),
        ([word("A", "NORMAL"), word("A", "NORMAL")], 2, False, WaitsFor.SECOND),
        ([word("A", "NORMAL"), word("B", "PNEUMONIA")], 2, False, WaitsFor.SENIOR),
        ([word("A", "NORMAL"), word("B", "PNEUMONIA"), word("S", "NORMAL", is_senior=True)], 2, False, None),
        ([word("A", "UNCLEAR")], 1, False, WaitsFor.SENIOR),
        ([word("S", "UNCLEAR", is_senior=True)], 1, False, None),
        ([word("A", "PNEUMONIA", other_finding=True)], 1, False, WaitsFor.SENIOR),
        ([word("A", "NOT_READABLE")], 2, False, None),
        ([word("A", "NORMAL", is_batch=True, is_blind=False)], 2, False, None),
        ([word("A", "NORMAL", is_blind=False)], 1, True, WaitsFor.FIRST),
        ([word("A", "NORMAL")], 1, True, None),
    ],
)
def test_whose_word_an_image_needs_next_follows_from_its_words(
    words: list[StandingWord], wanted: int, drawn: bool, expected: WaitsFor | None
) -> None:
    assert waits_for(words, wanted, is_drawn=drawn) is expected


def items(database: Database) -> list[ReadingItem]:
    with database.read() as session:
        return list(session.scalars(select(ReadingItem).order_by(ReadingItem.sighting_id)))


def put(database: Database, rule: ReadingRule, *probabilities: float, share: AuditShare | None = None) -> list[int]:
    claimed = in_hand(database, *(f"{number}.png" for number in range(len(probabilities))))
    outcomes = [
        screened(one, p, content="0123456789abcdef"[n])
        for n, (one, p) in enumerate(zip(claimed, probabilities, strict=True))
    ]
    with database.write() as session:
        work.finish(session, outcomes, NOW, (lambda _: share) if share else None, lambda _: rule)
    return [one.sighting for one in claimed]


def say(database: Database, name: str, label: str, reader: str = "A", **manner: Any) -> None:
    with database.write() as session:
        review(session, ReviewEntry(name, ReviewLabel(label), reader), after(60), Manner(**manner))


def test_what_was_screened_is_on_the_list_and_a_word_by_command_takes_it_off(database: Database) -> None:
    put(database, BLIND, 0.9, 0.1)
    assert [(item.waits_for, item.readers, item.lane) for item in items(database)] == [("first", 0, "routine")] * 2
    say(database, "0.png", "NORMAL")
    assert [(item.waits_for, item.readers) for item in items(database)] == [(None, 1), ("first", 0)]
    with database.write() as session:
        withdraw(session, "0.png", "A", after(120))
    assert [item.waits_for for item in items(database)] == ["first", "first"]


def test_a_share_of_images_and_all_unfamiliar_ones_are_read_twice(database: Database) -> None:
    put(database, ReadingRule(Reading.BLIND, 1.0), 0.9)
    assert items(database)[0].readers_wanted == 2
    say(database, "0.png", "NORMAL")
    assert items(database)[0].waits_for == "second"
    say(database, "0.png", "PNEUMONIA", "B")
    assert items(database)[0].waits_for == "senior"
    say(database, "0.png", "NORMAL", "S", seniors=("S",))
    assert items(database)[0].waits_for is None


def figures(probability: float, *, unfamiliar: bool = False) -> Figures:
    return Figures(probability, 0.5, "PNEUMONIA" if probability >= 0.5 else "NORMAL", unfamiliar)


def placed(
    probability: float, *, is_blind: bool, is_drawn: bool = False, chance: float = 0.2, **more: Any
) -> tuple[int, float]:
    return reading_list.place(
        figures(probability, **more), outside=False, is_drawn=is_drawn, is_blind=is_blind, seconds=1e9, chance=chance
    )


def test_a_blind_source_has_coarse_bands_and_drawn_images_are_in_either() -> None:
    pressing = {placed(p, is_blind=True) for p in (0.45, 0.55, 0.99)} | {placed(0.01, is_blind=True, unfamiliar=True)}
    assert len(pressing) == 1, "within a band the time alone decides"
    assert placed(0.01, is_blind=True) > next(iter(pressing))
    for probability in 0.01, 0.99:
        bands = {placed(probability, is_blind=True, is_drawn=True, chance=chance)[0] for chance in (0.2, 0.8)}
        assert bands == {reading_list.PRESSING, reading_list.PLAIN}, "of a drawn one, chance decides"


def test_an_audit_sample_stays_until_somebody_has_read_it_blind(database: Database) -> None:
    put(database, ASSISTED, 0.9, share=AuditShare(negatives=1, rest=1))
    say(database, "0.png", "NORMAL")
    assert items(database)[0].waits_for == "first"
    say(database, "0.png", "NORMAL", "B", is_blind=True)
    assert items(database)[0].waits_for is None


def test_an_image_that_was_read_waits_again_when_a_draw_asks_for_it(database: Database) -> None:
    from tests.models import go_live, make_linear_version  # noqa: F401 - the version is a row alone here

    put(database, ASSISTED, 0.9)
    say(database, "0.png", "NORMAL")
    with database.write() as session:
        from shared.database import ModelVersion, Promotion

        session.add(ModelVersion(version="v1", manifest_sha256="0" * 64, created_at=NOW))
        session.flush()
        session.add(Promotion(version="v1", promoted_by="test", promoted_at=NOW))
    with database.write() as session:
        draws.draw(session, draws.Wanted("ward", 1), "Ada", after(90))
    assert items(database)[0].waits_for == "first"


def test_a_copy_of_what_was_read_waits_for_nobody(database: Database) -> None:
    put(database, BLIND, 0.9)
    say(database, "0.png", "NORMAL")
    (copy,) = in_hand(database, file("copy.png", second=9))
    finish(database, screened(copy, 0.9, content="0"))
    assert [item.waits_for for item in items(database)] == [None, None]


def state(database: Database) -> tuple[Any, ...]:
    (row,) = rows(database)
    return row["reviewed_word"], row["reviewed_by"], row["reviewed_rule"], row["reading_state"]


def test_the_view_names_the_word_that_counts_who_gave_it_and_by_which_rule(database: Database) -> None:
    put(database, BLIND, 0.9)
    assert state(database) == (None, None, None, "unread")
    say(database, "0.png", "NORMAL", "A")
    assert state(database) == ("NORMAL", "A", "single", "read")
    say(database, "0.png", "PNEUMONIA", "B")
    assert state(database) == ("PNEUMONIA", "B", "newest", "disputed")
    say(database, "0.png", "NORMAL", "C")
    assert state(database) == ("NORMAL", "C", "agreement", "agreed")
    say(database, "0.png", "PNEUMONIA", "S", seniors=("S",))
    assert state(database) == ("PNEUMONIA", "S", "senior", "decided")


def test_who_cannot_tell_leaves_the_image_unclear_until_somebody_can(database: Database) -> None:
    put(database, BLIND, 0.9)
    say(database, "0.png", "UNCLEAR", "A")
    assert state(database) == ("UNCLEAR", "A", "newest", "unclear")
    say(database, "0.png", "NORMAL", "B")
    assert state(database) == ("NORMAL", "B", "single", "read")


def test_a_word_of_a_batch_is_shown_as_such_and_any_single_word_goes_before_it(database: Database) -> None:
    put(database, BLIND, 0.1)
    say(database, "0.png", "NORMAL", "A", method=ReviewMethod.BATCH)
    assert state(database) == ("NORMAL", "A", "batch", "batch")
    say(database, "0.png", "PNEUMONIA", "B")
    assert state(database) == ("PNEUMONIA", "B", "single", "read")
