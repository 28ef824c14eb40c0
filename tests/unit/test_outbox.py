"""What leaves the house: which rows are made, in which editions, and how they are taken and settled."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from actions import outbox as deed
from actions.erasure import erase, plan
from queries import outbox as queries
from shared.base.destination_settings import DestinationSettings
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.filesystem import MARKER
from shared.base.settings import load
from shared.database import AuditEntry, Database, OutboxMark, OutboxRow, Sighting, SightingState
from shared.ledger import outbox, reporting
from shared.ledger.outbox import GIVE_UP_AFTER, pause_after, reported
from shared.ledger.result_facts import ResultFacts
from shared.sources.folder.source import FolderSource
from tests.unit.conftest import Run
from tests.unit.outbox_steps import (
    BEFORE,
    done,
    make,
    outbox_rows,
    pacs,
    say,
    sent,
    take,
    told,
    wanted,
    webhook,
    withdraw,
)
from tests.unit.steps import NOW, after, drop

TO_PACS = wanted(pacs=pacs())


def test_each_result_becomes_one_row_of_each_kind_for_each_destination_that_wants_it(database: Database) -> None:
    done(database, "a")
    done(database, "b", 0.1)
    destinations = wanted(
        pacs=pacs(objects=("report", "capture")), positives=pacs(rule="positives"), other=pacs(sources=["x"])
    )
    assert make(database, destinations) == 5
    assert make(database, destinations) == 0, "looking again makes nothing"
    assert sorted(told(database)) == [
        *(("pacs", "capture", 1, "waiting"),) * 2,
        *(("pacs", "report", 1, "waiting"),) * 2,
        ("positives", "report", 1, "waiting"),
    ]


def test_a_row_holds_the_facts_of_its_day_and_no_name(database: Database) -> None:
    done(database, "a", path="Mustermann^Erika.dcm")
    make(database, TO_PACS)
    (row,) = outbox_rows(database)
    facts = ResultFacts.parse(row.facts)
    assert (facts.probability, facts.threshold, facts.label, facts.model_version) == (0.9, 0.5, "PNEUMONIA", "v1")
    assert facts.operating_point is None
    assert row.uid.startswith("2.25.") and len(row.uid) <= 64
    assert "Mustermann" not in json.dumps([row.facts, row.subject, row.uid])


def test_what_is_no_dicom_file_has_no_study_to_which_a_report_could_belong(database: Database) -> None:
    claimed = done(database, "a", of_dicom=False)
    assert make(database, TO_PACS) == 0
    with database.read() as session:
        assert is_reported(session, {"pacs": pacs()}, claimed.sighting)


def test_results_from_before_a_destination_was_named_are_not_sent_to_it(database: Database) -> None:
    done(database, "a")
    assert make(database, wanted(after(1), pacs=pacs())) == 0
    done(database, "b", now=after(5))
    assert make(database, wanted(after(1), pacs=pacs())) == 1


def test_a_word_and_its_withdrawal_make_new_editions_that_name_the_one_before(database: Database) -> None:
    done(database, "a")
    make(database, TO_PACS)
    (first,) = sent(database)
    word = say(database, "a", "NORMAL")
    make(database, TO_PACS)
    (second,) = sent(database)
    assert ResultFacts.parse(second.facts).word == "NORMAL"
    assert (second.edition, second.replaces) == (2, first.uid)
    withdraw(database, word)
    make(database, TO_PACS)
    (third,) = sent(database)
    assert ResultFacts.parse(third.facts).word is None
    assert (third.edition, third.replaces) == (3, second.uid)
    assert len({first.uid, second.uid, third.uid}) == 3


def test_an_edition_that_was_not_sent_yet_is_dropped_for_the_next_one(database: Database) -> None:
    done(database, "a")
    make(database, TO_PACS)
    say(database, "a", "PNEUMONIA")
    make(database, TO_PACS)
    assert told(database) == [("pacs", "report", 1, "superseded"), ("pacs", "report", 2, "waiting")]
    assert sent(database)[0].replaces is None, "the destination has none"


def test_a_word_that_is_taken_back_before_it_was_sent_sends_nothing(database: Database) -> None:
    done(database, "a")
    make(database, TO_PACS)
    sent(database)
    word = say(database, "a", "NORMAL")
    make(database, TO_PACS)
    withdraw(database, word)
    make(database, TO_PACS)
    assert told(database) == [("pacs", "report", 1, "sent"), ("pacs", "report", 2, "superseded")]


def test_a_second_reader_who_says_the_same_makes_no_edition(database: Database) -> None:
    done(database, "a")
    say(database, "a", "PNEUMONIA")
    make(database, TO_PACS)
    say(database, "a", "PNEUMONIA", "Dr. Weiss", 5)
    assert make(database, TO_PACS) == 0


def test_whoever_got_a_result_gets_its_later_editions_even_if_the_rule_fits_no_more(database: Database) -> None:
    destinations = wanted(pacs=pacs(rule="after_reading"))
    done(database, "a")
    assert make(database, destinations) == 0
    word = say(database, "a", "NORMAL")
    assert make(database, destinations) == 1
    sent(database)
    withdraw(database, word)
    assert make(database, destinations) == 1, "else the destination would go on showing a word that was taken back"


def test_urgent_are_positives_of_the_urgent_lane_and_they_go_first(database: Database) -> None:
    done(database, "a")
    done(database, "b", lane="stat", now=after(1))
    done(database, "c", 0.1, lane="stat", now=after(2))
    make(database, wanted(pacs=pacs(), urgent=pacs(rule="urgent")))
    assert [row.sha256 for row in take(database, "urgent")] == ["b" * 64]
    assert take(database, "pacs", most=1)[0].sha256 == "b" * 64


def test_another_version_s_result_makes_an_edition_and_the_old_one_keeps_its_facts(database: Database) -> None:
    done(database, "a")
    make(database, TO_PACS)
    sent(database)
    done(database, "a", 0.2, path="again.dcm", now=after(10), version="v2")
    make(database, TO_PACS)
    first, second = outbox_rows(database)
    assert ResultFacts.parse(first.facts).probability == 0.9
    assert ResultFacts.parse(second.facts).model_version == "v2"


def test_the_same_content_dropped_twice_in_a_source_is_reported_once(database: Database) -> None:
    done(database, "a")
    done(database, "a", path="copy.dcm", now=after(5))
    assert make(database, TO_PACS) <= 2
    assert [state for *_, state in told(database)].count("waiting") == 1


def test_the_same_parts_give_the_same_uid_and_each_destination_another(database: Database) -> None:
    done(database, "a")
    make(database, wanted(pacs=pacs(), archive=pacs()))
    uids = {row.destination: row.uid for row in outbox_rows(database)}
    assert uids["pacs"] != uids["archive"]
    with database.write() as session:  # as after a backup from before was restored
        session.execute(delete(OutboxRow))
        session.execute(delete(OutboxMark))
    make(database, wanted(pacs=pacs(), archive=pacs()), now=after(500))
    assert {row.destination: row.uid for row in outbox_rows(database)} == uids


def test_a_word_is_seen_though_its_number_became_visible_late(database: Database) -> None:
    done(database, "a")
    make(database, TO_PACS)
    word = say(database, "a", "NORMAL")
    with database.read() as session:
        sightings, last = reporting.recently_read(session, word + 50, after(0))
    assert len(sightings) == 1 and last == word


def test_what_finished_of_late_is_found_until_rows_are_made_of_it(database: Database) -> None:
    claimed = done(database, "a")
    with database.read() as session:
        assert reporting.recently_finished(session, BEFORE, after(5)) == [claimed.sighting]
    make(database, TO_PACS)
    with database.read() as session:
        assert reporting.recently_finished(session, BEFORE, after(5)) == []


def test_events_are_told_once_each(database: Database) -> None:
    destinations = wanted(hook=webhook(events=["urgent_positive", "disagreement"]))
    done(database, "a", lane="stat")
    done(database, "b", now=after(1))
    make(database, destinations)
    say(database, "b", "NORMAL")
    make(database, destinations)
    say(database, "b", "NORMAL", "Dr. Weiss")
    done(database, "a", lane="stat", path="again.dcm", now=after(20))
    make(database, destinations)
    assert told(database) == [("hook", "urgent_positive", 1, "waiting"), ("hook", "disagreement", 1, "waiting")]


def is_reported(session: Session, destinations: dict[str, DestinationSettings], sighting: int) -> bool:
    return sighting in reported(session, destinations, [sighting], NOW)


def test_an_image_is_reported_when_every_row_of_it_is_settled(database: Database) -> None:
    destinations = {"pacs": pacs()}

    def is_it() -> bool:
        with database.read() as session:
            return is_reported(session, destinations, claimed.sighting)

    claimed = done(database, "a")
    with database.read() as session:
        assert is_reported(session, {}, claimed.sighting), "where nobody wants it"
        assert is_reported(session, {"pacs": pacs(sources=["other"])}, claimed.sighting)
        assert is_reported(session, {"hook": webhook()}, claimed.sighting), "a message needs no file"
    assert not is_it(), "no row of it was made yet"
    make(database, TO_PACS)
    assert not is_it()
    (row,) = take(database)
    assert not is_it()
    with database.write() as session:
        outbox.settle_sent(session, row, NOW)
    assert is_it()
    say(database, "a", "NORMAL")
    make(database, TO_PACS)
    assert not is_it(), "a new edition needs the file again"


def test_an_image_that_waits_is_not_reported_and_a_quarantined_one_has_nothing_to_report(database: Database) -> None:
    (waiting,) = drop(database, "a.dcm")
    with database.read() as session:
        assert not is_reported(session, {"pacs": pacs()}, waiting)
    with database.write() as session:
        session.execute(update(Sighting).values(state=SightingState.QUARANTINED, finished_at=NOW))
    with database.read() as session:
        assert is_reported(session, {"pacs": pacs()}, waiting)


def test_a_row_is_one_courier_s_until_its_lease_runs_out(database: Database) -> None:
    done(database, "a")
    make(database, TO_PACS)
    (first,) = take(database)
    assert take(database, now=after(30)) == []
    (second,) = take(database, now=after(61))
    assert second.uid == first.uid
    with database.write() as session:
        assert not outbox.settle_failed(session, first, after(62), "late"), "the row is another courier's by now"
        assert outbox.settle_sent(session, second, after(62))
    assert told(database) == [("pacs", "report", 1, "sent")]


def test_what_is_refused_for_now_is_tried_later_and_later_and_fails_after_days(database: Database) -> None:
    done(database, "a")
    make(database, TO_PACS)
    now, tries = NOW, 0
    while tries < 1000:
        rows = take(database, now=now)
        if not rows:
            break
        tries += 1
        with database.write() as session:
            outbox.put_back(session, rows[0], now, "0xA700")
        assert take(database, now=now) == [], "not at once"
        now += pause_after(rows[0].attempt) + timedelta(seconds=1)
    (row,) = outbox_rows(database)
    assert row.state == "failed" and "0xA700" in str(row.problem)
    assert now - NOW > GIVE_UP_AFTER and tries < 600


def test_while_a_destination_is_away_its_rows_wait_however_long_and_none_fails(database: Database) -> None:
    done(database, "a")
    make(database, TO_PACS)
    now = NOW
    for _ in range(60):
        with database.read() as session:
            if not outbox.has_work(session, "pacs", now):
                now += timedelta(minutes=11)
                continue
        (row,) = take(database, now=now)
        with database.write() as session:
            next_try = outbox.note_away(session, "pacs", now, "no answer")
            outbox.put_back(session, row, now, None)
        with database.read() as session:
            assert not outbox.has_work(session, "pacs", now), "nothing is tried before the next look"
        now = next_try + timedelta(seconds=1)
    assert told(database) == [("pacs", "report", 1, "waiting")]
    sent(database, now=now + timedelta(days=5))
    with database.read() as session:
        (state,) = queries.overview(session, load(destinations={"pacs": pacs().model_dump()}), now)
    assert state.away_since is None and state.waiting == 0 and state.last_sent_at is not None


@pytest.mark.parametrize("takes_others", [True, False])
def test_a_row_over_which_a_destination_breaks_off_fails_after_days_only_where_it_takes_others(
    database: Database, takes_others: bool
) -> None:
    done(database, "a")
    make(database, TO_PACS)
    now = NOW
    for _ in range(20):
        rows = take(database, now=now)
        if not rows:
            break
        with database.write() as session:
            if takes_others:
                session.get_one(outbox.DestinationState, "pacs").last_sent_at = now
            outbox.put_behind(session, rows[0], now, "no answer")
        assert take(database, now=now) == [], "the others go first"
        now += timedelta(hours=12)
    assert now - NOW > GIVE_UP_AFTER
    assert told(database) == [("pacs", "report", 1, "failed" if takes_others else "waiting")]


def test_a_row_that_was_under_way_when_its_next_edition_came_is_not_tried_again(database: Database) -> None:
    done(database, "a")
    make(database, TO_PACS)
    (row,) = take(database)
    say(database, "a", "NORMAL")
    make(database, TO_PACS)
    with database.write() as session:
        outbox.put_back(session, row, after(1), "0xA700")
    assert told(database) == [("pacs", "report", 1, "superseded"), ("pacs", "report", 2, "waiting")]


def test_failed_rows_are_sent_again_when_somebody_says_so_and_that_is_on_record(database: Database) -> None:
    done(database, "a")
    make(database, TO_PACS)
    (row,) = take(database)
    with database.write() as session:
        outbox.settle_failed(session, row, NOW, "not accepted")
    with pytest.raises(InvalidRequest), database.write() as session:
        deed.retry(session, [], None, False, "Ada", NOW)
    with pytest.raises(WorkFailed), database.write() as session:
        deed.retry(session, [], "other", False, "Ada", NOW)
    with database.write() as session:
        assert deed.retry(session, [row.id], None, False, "Ada", NOW) == 1
        assert session.query(AuditEntry).one().action == "outbox retry"
    assert sent(database)[0].uid == row.uid


def test_the_commands_list_what_failed_and_have_it_sent_again(
    database: Database, tmp_path: Path, run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done(database, "a")
    make(database, wanted(pacs=pacs(), archive=pacs()))
    (row,), (other,) = take(database), take(database, "archive")
    with database.write() as session:
        outbox.settle_failed(session, row, NOW, "not accepted")
        outbox.settle_failed(session, other, NOW, "too large")
    listed = ("outbox", "list", "--home", tmp_path, "--state", "failed")
    code, out, _ = run_command(*listed)
    assert code == 0 and "not accepted" in out and "too large" in out
    again = ("outbox", "retry", "--home", tmp_path, "--destination", "pacs", "--by", "Ada")
    code, out, _ = run_command(*again)
    assert (code, out) == (0, "1 rows of the outbox are sent again.\n")
    assert {each.destination: each.state for each in outbox_rows(database)} == {"pacs": "waiting", "archive": "failed"}
    code, out, _ = run_command(*listed, "--format", "json")
    assert [(each["id"], each["problem"]) for each in json.loads(out)["rows"]] == [(other.id, "too large")]
    with database.read() as session:
        (entry,) = session.query(AuditEntry)
        assert (entry.actor, entry.action) == ("Ada", "outbox retry")
    code, out, errors = run_command(*again)
    assert code == 1 and out == "" and "Nothing that has failed matches" in errors
    assert run_command(*listed[:-1], "lost")[0] == 2, "no such state"


def test_forgetting_an_image_takes_its_rows_out_of_the_outbox(database: Database, tmp_path: Path) -> None:
    done(database, "a")
    done(database, "b", now=after(1))
    make(database, TO_PACS)
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / MARKER).touch()
    planned = plan(database, {"ward": FolderSource("ward", tmp_path / "ward")}, "a" * 64)
    assert planned.traces.sent == 1
    erase(database, planned, "Ada", NOW)
    assert [row.sha256 for row in outbox_rows(database)] == ["b" * 64]


def test_status_says_what_waits_what_is_away_and_what_failed(database: Database) -> None:
    settings = load(destinations={"pacs": pacs().model_dump()})
    done(database, "a")
    make(database, TO_PACS)

    def needs(now: object) -> list[str]:
        with database.read() as session:
            return list(queries.needs(queries.overview(session, settings, now), now))

    assert any("no courier works" in need for need in needs(after(3600)))
    (row,) = take(database)
    with database.write() as session:
        outbox.register_destinations(session, ["pacs"], after(1800))
        outbox.note_away(session, "pacs", NOW, "no answer")
        outbox.put_back(session, row, NOW, None)
    assert any("out of reach for" in need and "1 object waits" in need for need in needs(after(1801)))
    (row,) = take(database)
    with database.write() as session:
        outbox.settle_failed(session, row, NOW, "not accepted")
    assert any("failed for good" in need for need in needs(after(1802)))
