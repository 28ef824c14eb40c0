"""The list of the page: its order, what it hides, and that it reads no more rows than it shows."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text

from actions import batch as batch_action
from actions import leases
from actions.reviews import Manner, ReviewEntry, review
from queries import batch, search, worklist_page, worklist_rows
from queries.worklist_page import Filters, Viewer
from shared.base.errors import InvalidRequest
from shared.base.lanes import Lane
from shared.base.settings import Settings, load
from shared.database import Database, ReadingItem, Review, ReviewLabel, Role, WaitsFor
from shared.ledger import work
from shared.ledger.work import Identifiers, Screened
from tests.unit.steps import NOW, after, claim, drop, file, finish, screened, send_all

A, S = Viewer("A"), Viewer("S", Role.SENIOR)
LATER = after(3600)


def settings_of(tmp_path: Path, reading: str = "assisted", **more: Any) -> Settings:
    return load(tmp_path, reading=reading, second_reading_share=0.0, **more)


def put(
    database: Database,
    settings: Settings,
    name: str,
    probability: float = 0.9,
    lane: Lane = Lane.ROUTINE,
    at: float = 0,
    **more: Any,
) -> int:
    """A screened image, each of a content of its own."""
    drop(database, file(name, second=abs(hash(name)) % 10_000 + 1), lane=lane, now=after(at))
    (one,) = claim(database, send_all(database, lane, now=after(at)))
    label = "PNEUMONIA" if probability >= 0.5 else "NORMAL"
    outcome = Screened(one, f"{one.sighting:064x}", "v1", probability, 0.5, label, **more)
    with database.write() as session:
        work.finish(session, [outcome], after(at), None, settings.reading_rule_of)
    return one.sighting


def listed(database: Database, settings: Settings, viewer: Viewer = A, now: Any = LATER, **asked: Any) -> list[int]:
    more = {name: asked.pop(name) for name in ("after", "limit", "free") if name in asked}
    with database.read() as session:
        return list(worklist_page.page(session, settings, Filters(**asked), viewer, now, **more).sightings)


def draw(database: Database, sighting: int) -> None:
    """The image becomes one of a random draw."""
    from shared.database import Draw, DrawMember

    with database.write() as session:
        drawn = Draw(source="ward", model_version="v1", seed=1, until=NOW, created_by="test", created_at=NOW)
        session.add(drawn)
        session.flush()
        image = {"sighting_id": sighting, "sha256": f"{sighting:064x}", "prediction_id": 1}
        session.add(DrawMember(draw_id=drawn.id, number=1, stratum=0, inclusion=0.5, **image))


def test_urgent_ones_come_first_then_those_beyond_their_lanes_limit_then_by_need(
    database: Database, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path)
    late_negative = put(database, settings, "late", 0.01)
    bulk = put(database, settings, "bulk", 0.99, Lane.BACKGROUND)
    fresh = put(database, settings, "fresh", 0.99, at=3590)
    urgent = put(database, settings, "urgent", 0.01, Lane.STAT, at=3590)
    late_urgent = put(database, settings, "late urgent", 0.01, Lane.STAT, at=60)
    late_positive = put(database, settings, "positive", 0.99)
    expected = [late_urgent, urgent, late_positive, late_negative, fresh, bulk]
    found = listed(database, settings)
    assert found[:4] == expected[:4]
    assert set(found[4:]) == {fresh, bulk}, "neither waits too long: the need decides"


def by_command(database: Database, settings: Settings, now: Any = LATER, **asked: Any) -> list[dict[str, Any]]:
    """The rows of `results --to-review`."""
    from queries import results

    query = results.statement(settings, results.Filters(to_review=True, **asked), now)
    with database.read() as session:
        return [dict(row) for row in session.execute(query).mappings()]


@pytest.mark.parametrize("reading", ["blind", "assisted"])
def test_the_command_lists_what_the_page_lists_in_its_order(database: Database, tmp_path: Path, reading: str) -> None:
    settings = settings_of(tmp_path, reading)
    for number, probability in enumerate((0.02, 0.97, 0.45, 0.55, 0.3, 0.8)):
        put(database, settings, f"{number}", probability, Lane.STAT if number > 3 else Lane.ROUTINE, at=number * 600)
    put(database, settings, "odd", 0.01, unfamiliar=True, at=3500)
    drawn = put(database, settings, "drawn", 0.01)
    draw(database, drawn)
    assert [row["sighting_id"] for row in by_command(database, settings)] == listed(database, settings, state="unread")


def test_in_a_blind_source_the_command_tells_no_answer_by_row_order_or_filter(
    database: Database, tmp_path: Path
) -> None:
    from queries.worklist import BLANK

    settings = settings_of(tmp_path, "blind")
    placed = [put(database, settings, f"{n}", p, at=n) for n, p in enumerate((0.6, 0.99, 0.41, 0.02, 0.3))]
    rows = by_command(database, settings)
    assert [row["sighting_id"] for row in rows] == placed, "two bands, and in each the oldest first"
    assert {row[column] for row in rows for column in ("why", *BLANK)} == {None}
    assert by_command(database, settings, label="PNEUMONIA") == []
    assert len(by_command(database, settings_of(tmp_path), label="PNEUMONIA")) == 2, "a source that shows it"


def test_a_list_that_is_asked_for_blind_is_in_no_finer_order_than_a_blind_source_s(
    database: Database, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path)
    late, sure = put(database, settings, "late", 0.7, at=60), put(database, settings, "sure", 0.99, at=120)
    plain = put(database, settings, "plain", 0.02)
    assert [row["sighting_id"] for row in by_command(database, settings)] == [sure, late, plain]
    blind = by_command(database, settings, blind=True)
    assert [(row["sighting_id"], row["why"], row["label"]) for row in blind] == [
        (late, None, None),
        (sure, None, None),
        (plain, None, None),
    ]


@pytest.mark.parametrize("reading", ["blind", "assisted"])
def test_the_command_hides_the_answer_of_every_drawn_image(database: Database, tmp_path: Path, reading: str) -> None:
    """Of a draw for an operating point, too, which is no audit sample."""
    settings = settings_of(tmp_path, reading)
    draw(database, put(database, settings, "a", 0.9))
    (row,) = by_command(database, settings)
    assert (row["why"], row["label"], row["probability"]) == (
        "audit sample" if reading == "assisted" else None,
        None,
        None,
    )


def test_pages_follow_each_other_without_a_gap_or_a_row_twice(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for number in range(11):
        put(
            database,
            settings,
            f"{number}",
            (number % 5) / 5 + 0.05,
            Lane.STAT if number % 4 == 0 else Lane.ROUTINE,
            at=number * 400,
        )
    whole = listed(database, settings)
    parts, last = [], None
    while part := listed(database, settings, after=last, limit=3):
        parts += part
        last = part[-1]
    assert parts == whole and len(set(whole)) == 11


def test_in_a_blind_source_neither_why_nor_label_is_shown_or_can_be_filtered(
    database: Database, tmp_path: Path
) -> None:
    blind, open_ = settings_of(tmp_path, "blind"), settings_of(tmp_path)
    number = put(database, blind, "a", 0.9)
    with database.read() as session:
        (row,) = worklist_rows.rows(session, blind, [number], A, LATER)
        (shown,) = worklist_rows.rows(session, open_, [number], A, LATER)
    assert (row.why, row.label) == (None, None)
    assert (shown.why, shown.label) == ("positive", "PNEUMONIA")
    for asked in {"why": "positive"}, {"label": "PNEUMONIA"}:
        assert listed(database, blind, **asked) == []
        assert listed(database, open_, **asked) == [number]


def test_one_source_may_be_blind_and_another_not(database: Database, tmp_path: Path) -> None:
    number = put(database, settings_of(tmp_path), "a", 0.9)
    mixed = load(tmp_path, reading="assisted", sources={"ward": {"path": str(tmp_path / "ward"), "reading": "blind"}})
    assert listed(database, mixed, label="PNEUMONIA") == []
    other = load(tmp_path, reading="blind", sources={"ward": {"path": str(tmp_path / "ward"), "reading": "assisted"}})
    assert listed(database, other, label="PNEUMONIA") == [number]


def test_drawn_images_tell_nothing_even_where_the_source_shows_the_answer(database: Database, tmp_path: Path) -> None:
    from shared.database import AuditSample

    settings = settings_of(tmp_path)
    number = put(database, settings, "a", 0.9)
    with database.write() as session:
        session.add(
            AuditSample(
                sighting_id=number,
                source="ward",
                sha256=f"{number:064x}",
                prediction_id=1,
                label="PNEUMONIA",
                inclusion=0.5,
                drawn_at=NOW,
            )
        )
    assert listed(database, settings, label="PNEUMONIA") == [] and listed(database, settings) == [number]
    with database.read() as session:
        (row,) = worklist_rows.rows(session, settings, [number], A, LATER)
    assert row.why is None and row.label is None


def test_what_another_reader_has_open_is_named_and_left_out_of_what_is_next(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    first, second = put(database, settings, "a", 0.9), put(database, settings, "b", 0.8)
    with database.write() as session:
        assert leases.take(session, first, f"{first:064x}", "B", LATER).is_mine
    with database.write() as session:
        assert leases.take(session, first, f"{first:064x}", "A", LATER).reader == "B"
    assert listed(database, settings) == [first, second]
    assert listed(database, settings, free=True) == [second]
    with database.read() as session:
        assert worklist_rows.rows(session, settings, [first], A, LATER)[0].reading_now == "B"
    over = LATER + leases.LEASE + timedelta(seconds=1)
    assert listed(database, settings, free=True, now=over) == [first, second]
    with database.write() as session:
        assert leases.take(session, first, f"{first:064x}", "A", over).is_mine
        leases.release_all(session, "A")
    others = listed(database, settings, viewer=Viewer("B"), free=True, now=over)
    assert others == [first, second], "who logs out holds nothing"


def test_readers_who_take_and_give_back_one_image_at_once_are_always_told_who_has_it(database: Database) -> None:
    """It is given back at the moment at which another asks for it."""
    from concurrent.futures import ThreadPoolExecutor

    def ask(reader: str) -> set[str]:
        told = set()
        for _ in range(50):
            with database.write() as session:
                told.add(leases.take(session, 1, "a" * 64, reader, LATER).reader)
            with database.write() as session:
                leases.release(session, "a" * 64, reader)
        return told

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, "ABCD"))
    assert all(told and told <= set("ABCD") for told in found)


def given(database: Database, sightings: list[int], reader: str) -> int | None:
    with database.write() as session:
        return leases.take_first(session, sightings, reader, LATER)


def test_readers_who_ask_at_once_are_each_given_another_image(database: Database, tmp_path: Path) -> None:
    """They all found the same candidates, as those do who look in one moment."""
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    settings, readers = settings_of(tmp_path), "ABCDEF"
    images = [put(database, settings, name) for name in "abcdefgh"]
    together = Barrier(len(readers))

    def ask(reader: str) -> int | None:
        together.wait()
        return given(database, images, reader)

    with ThreadPoolExecutor(len(readers)) as pool:
        found = list(pool.map(ask, readers))
    assert {number for number in found if number is not None} == set(images[: len(readers)])


def test_what_is_given_is_the_first_of_the_list_that_is_neither_open_nor_read(
    database: Database, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path)
    numbers = [put(database, settings, name) for name in "abcd"]
    in_order = [numbers[3], numbers[1], numbers[0]]
    assert given(database, in_order, "B") == numbers[3]
    with database.write() as session:
        review(session, ReviewEntry("b", ReviewLabel.NORMAL, "C"), LATER, Manner())
    assert given(database, in_order, "A") == numbers[0]
    assert given(database, in_order, "C") is None
    assert given(database, [], "C") is None


def test_to_be_given_an_image_costs_the_same_however_many_others_have_open(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    images = [put(database, settings, name) for name in "abcdefgh"]
    spent: list[int] = []

    def count(*_: object) -> None:
        spent[-1] += 1

    event.listen(database.engine, "before_cursor_execute", count)
    for reader in "ABCDEF":
        spent.append(0)
        given(database, images, reader)
    event.remove(database.engine, "before_cursor_execute", count)
    assert len(set(spent)) == 1 and spent[0] <= 4, "the transaction's beginning, the look, the lease, and whose it is"


def test_a_second_reading_is_for_somebody_else_and_a_dispute_for_a_senior(database: Database, tmp_path: Path) -> None:
    settings = load(tmp_path, reading="assisted", second_reading_share=1.0)
    number = put(database, settings, "a", 0.9)

    def say(reader: str, label: str) -> None:
        with database.write() as session:
            review(session, ReviewEntry("a", ReviewLabel(label), reader), LATER, Manner())

    say("A", "NORMAL")
    assert listed(database, settings) == [] and listed(database, settings, Viewer("B")) == [number]
    with database.read() as session:
        (row,) = worklist_rows.rows(session, settings, [number], Viewer("B"), LATER)
    assert row.why is None and row.label is None, "the second reader sees no answer"
    say("B", "PNEUMONIA")
    assert listed(database, settings, Viewer("C")) == [] and listed(database, settings, S) == [number]
    assert (
        listed(database, settings, state="disputed") == [number] and listed(database, settings, state="unclear") == []
    )


@pytest.mark.parametrize("state", ["mine", "quarantined", "unread", "second", "unclear"])
def test_each_state_can_be_asked_for(database: Database, tmp_path: Path, state: str) -> None:
    from shared.ledger.work import Quarantined
    from tests.unit.steps import in_hand

    settings = settings_of(tmp_path)
    mine, unread = put(database, settings, "mine"), put(database, settings, "unread")
    (bad,) = in_hand(database, "bad")
    finish(database, Quarantined(bad, "blank"))
    unclear = put(database, settings, "unclear")
    with database.write() as session:
        review(session, ReviewEntry("mine", ReviewLabel.NORMAL, "A"), NOW)
        review(session, ReviewEntry("unclear", ReviewLabel.UNCLEAR, "B"), NOW)
    expected = {"mine": [mine], "quarantined": [bad.sighting], "unread": [unread], "second": [], "unclear": [unclear]}
    assert listed(database, settings, state=state) == expected[state]
    assert listed(database, settings, reader="B") == [unclear]


def test_each_filter_finds_its_images_alone(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    early, late = put(database, settings, "early"), put(database, settings, "late", at=7200)
    urgent = put(database, settings, "urgent", 0.1, lane=Lane.STAT, at=7200)
    assert set(listed(database, settings, now=after(7300), source="ward")) == {early, late, urgent}
    assert listed(database, settings, source="elsewhere") == []
    assert listed(database, settings, now=after(7300), lane="stat") == [urgent]
    assert listed(database, settings, now=after(7300), since=after(3600), lane="routine") == [late]
    assert listed(database, settings, now=after(7300), until=after(3600)) == [early]
    assert set(listed(database, settings, now=after(7300), version="v1")) == {early, late, urgent}
    assert listed(database, settings, version="v2") == []
    assert listed(database, settings, now=after(7300), why="negative") == [urgent]
    assert listed(database, settings, now=after(7300), label="NORMAL") == [urgent]


def test_a_file_that_was_replaced_and_a_copy_are_not_listed_twice(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put(database, settings, "a", 0.9)
    drop(database, file("a", second=77, size=99))
    (again,) = claim(database, send_all(database))
    finish(database, screened(again, 0.9, content="c"))
    drop(database, file("copy", second=78))
    (copy,) = claim(database, send_all(database))
    finish(database, screened(copy, 0.9, content="c"))
    assert listed(database, settings) == [copy.sighting]


def test_the_line_above_the_list_counts_by_lane_and_the_oldest_urgent_wait(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    put(database, settings, "a")
    put(database, settings, "b", lane=Lane.STAT, at=3000)
    with database.write() as session:
        review(session, ReviewEntry("a", ReviewLabel.NORMAL, "A"), LATER)
    with database.read() as session:
        found = worklist_rows.summary(session, A, LATER)
    assert {count.lane: count.unread for count in found.lanes} == {"stat": 1, "routine": 0, "background": 0}
    assert (found.oldest_urgent, found.is_urgent_overdue, found.mine_today) == (timedelta(seconds=600), True, 1)


def test_an_image_is_found_by_accession_number_study_patient_and_file_name(database: Database, tmp_path: Path) -> None:
    from pydantic import SecretStr

    from shared.imaging.identifiers import patient_key

    secret = SecretStr("sixteen characters")
    settings = settings_of(tmp_path, patient_secret=secret)
    key = patient_key("P-7", None, secret)
    number = put(database, settings, "ward-7/scan 1.dcm", identifiers=Identifiers("1.2.3", "1.2.3.4", "ACC-9", key))
    put(database, settings, "other.dcm")
    with database.read() as session:
        for text_ in "ACC-9", "1.2.3", "P-7", "scan 1", " ACC-9 ":
            assert search.find(session, settings, text_) == [number], text_
        assert search.find(session, settings, "%_") == [], "signs of LIKE mean themselves"
        for wrong in "", "x", "x" * 300:
            with pytest.raises(InvalidRequest):
                search.find(session, settings, wrong)


def test_a_batch_takes_plain_negatives_that_were_in_sight_and_counts_nowhere(
    database: Database, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path)
    plain = [put(database, settings, f"plain {number}", 0.05) for number in range(2)]
    for name, given in {
        "near": {"probability": 0.45},
        "positive": {"probability": 0.9},
        "odd": {"probability": 0.05, "unfamiliar": True},
        "adult": {"probability": 0.05, "outside_population": True},
        "urgent": {"probability": 0.05, "lane": Lane.STAT},
    }.items():
        put(database, settings, name, **given)
    with database.read() as session:
        assert sorted(tile.sighting for tile in batch.find(session, settings, A, LATER)) == plain
        assert batch.find(session, settings_of(tmp_path, "blind"), A, LATER) == []
    with database.write() as session, pytest.raises(InvalidRequest, match="less than a second"):
        batch_action.save(session, settings, {plain[0]: 999}, A, "abcdefgh1", LATER)
    for _ in range(2):  # sent twice, it is recorded once
        with database.write() as session:
            saved = batch_action.save(session, settings, {plain[0]: 1000, plain[1]: 5000}, A, "abcdefgh1", LATER)
    assert len(saved.reviews) == 2
    with database.read() as session:
        from shared.ledger import words

        assert words.labels_that_train(session) == {}
        assert {row.method for row in session.scalars(select(Review))} == {"batch"}
        assert batch.find(session, settings, A, LATER) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # PostgreSQL chooses by the table's size
def test_the_list_is_read_by_indexes_and_sorts_nothing(database: Database, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    first = put(database, settings, "a")
    put(database, settings, "b", lane=Lane.STAT)
    statements: dict[str, Any] = {}

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            statements[statement] = parameters

    event.listen(database.engine, "before_cursor_execute", note)
    for asked in {}, {"after": first}, {"source": "ward"}, {"state": "disputed"}, {"free": True}:
        listed(database, settings, **asked)
    event.remove(database.engine, "before_cursor_execute", note)
    assert len(statements) >= 5
    connection = database.engine.raw_connection()
    for statement, parameters in statements.items():
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        assert not [step for step in plan if step.startswith("SCAN") and step != "SCAN CONSTANT ROW"], (statement, plan)
        assert not [step for step in plan if "TEMP B-TREE" in step], (statement, plan)
    connection.close()


def test_a_word_of_somebody_who_reads_by_the_models_answer_is_told_apart() -> None:
    assert Filters(why="positive").tells_answer and Filters(label="NORMAL").tells_answer
    assert not Filters(state="unread", source="ward").tells_answer


def test_a_place_on_the_list_waits_for_one_of_three(database: Database) -> None:
    from sqlalchemy.exc import IntegrityError

    values = {
        "sighting_id": 1,
        "sha256": "a" * 64,
        "source": "ward",
        "lane": "routine",
        "seen_at": NOW,
        "need": 1,
        "place": 0.0,
        "readers_wanted": 1,
        "readers": 0,
    }
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(insert(ReadingItem), [{**values, "waits_for": "nobody"}])
    assert set(WaitsFor) == {"first", "second", "senior"}
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM reading_list")) == 0
