"""A reader's word on the page: what was shown before it, once however often it is sent, and taken back."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from actions import leases, reading
from actions.reading import ChangedMeanwhile, Saved, Word
from queries import agreement
from queries import reading as query
from queries.worklist_page import Viewer
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.settings import Settings, load
from shared.database import AuditEntry, AuditSample, Database, Draw, DrawMember, Review, ReviewLabel, Role
from shared.ledger import words, work
from shared.ledger.work import Identifiers, Quarantined, Screened
from tests.unit.steps import NOW, after, claim, drop, file, finish, in_hand, screened, send_all

A, B, S = Viewer("A"), Viewer("B"), Viewer("S", Role.SENIOR)
LATER = after(600)


@pytest.fixture
def blind(tmp_path: Path) -> Settings:
    return load(tmp_path, second_reading_share=0.0)


@pytest.fixture
def image(database: Database, blind: Settings) -> int:
    (one,) = in_hand(database, "a.png")
    with database.write() as session:
        work.finish(session, [screened(one, 0.9)], NOW, None, blind.reading_rule_of)
    return one.sighting


def say(
    database: Database,
    settings: Settings,
    image: int,
    label: str = "NORMAL",
    viewer: Viewer = A,
    now: Any = LATER,
    **more: Any,
) -> Saved:
    with database.read() as session:
        seen = query.load(session, settings, image, viewer, now).prediction
    given = {"submission": f"{viewer.name}-{label}-{len(rows(database))}-word", "prediction": seen, **more}
    with database.write() as session:
        return reading.save(session, settings, Word(image, ReviewLabel(label), **given), viewer, now)


def rows(database: Database) -> list[Review]:
    with database.read() as session:
        return list(session.scalars(select(Review).order_by(Review.id)))


def look(database: Database, settings: Settings, image: int, viewer: Viewer = A) -> query.ReadingImage:
    with database.read() as session:
        return query.load(session, settings, image, viewer, LATER)


def test_in_a_blind_source_the_answer_comes_after_the_word(database: Database, blind: Settings, image: int) -> None:
    before = look(database, blind, image)
    assert before.is_blind and before.answer is None and before.words == []
    saved = say(database, blind, image)
    assert saved.disagrees and saved.answer is not None and saved.answer.label == "PNEUMONIA"
    row = rows(database)[0]
    assert (row.is_blind, row.after_model, row.shown, row.method) == (True, False, "blind", "page")
    assert look(database, blind, image).answer is not None
    assert look(database, blind, image, B).answer is None, "others have not spoken yet"


def test_which_word_counts_is_shown_with_its_rule_to_whoever_has_spoken(
    database: Database, blind: Settings, image: int
) -> None:
    assert look(database, blind, image).counts is None
    say(database, blind, image, "NORMAL")
    assert look(database, blind, image).counts == ("NORMAL", "single")
    assert look(database, blind, image, B).counts is None, "others have not spoken yet"
    say(database, blind, image, "PNEUMONIA", B)
    assert look(database, blind, image).counts == ("PNEUMONIA", "newest")
    assert look(database, blind, image, S).counts is None, "a senior decides between two words, not on one"
    say(database, blind, image, "NORMAL", S)
    assert look(database, blind, image).counts == ("NORMAL", "senior")


def test_a_change_of_mind_is_a_second_row_that_trains_nothing(database: Database, blind: Settings, image: int) -> None:
    say(database, blind, image, "NORMAL")
    say(database, blind, image, "PNEUMONIA")
    first, second = rows(database)
    assert (second.is_blind, second.after_model, second.shown) == (False, True, "revealed")
    with database.read() as session:
        assert words.labels_that_train(session) == {first.sha256: "NORMAL"}


def test_where_the_source_shows_the_answer_no_word_is_blind(database: Database, tmp_path: Path, image: int) -> None:
    assisted = load(tmp_path, reading="assisted")
    assert look(database, assisted, image).answer is not None
    assert not say(database, assisted, image).is_blind
    assert rows(database)[0].shown == "assisted"


def test_a_word_given_through_a_filter_by_the_answer_is_not_blind(
    database: Database, blind: Settings, image: int
) -> None:
    assert not say(database, blind, image, by_filter=True).is_blind


def test_a_word_after_one_that_was_taken_back_is_not_blind(database: Database, blind: Settings, image: int) -> None:
    saved = say(database, blind, image)
    with database.write() as session:
        reading.undo(session, saved.review, A, LATER, None, LATER)
    assert look(database, blind, image).is_blind
    assert not say(database, blind, image, "PNEUMONIA").is_blind, "the answer was shown after the first one"


def test_whoever_took_a_word_back_is_told_that_the_next_one_is_given_in_sight_of_the_answer(
    database: Database, blind: Settings, image: int
) -> None:
    assert not look(database, blind, image).has_seen
    saved = say(database, blind, image)
    with database.write() as session:
        reading.undo(session, saved.review, A, None, "the wrong key", LATER)
    assert look(database, blind, image).has_seen
    assert not look(database, blind, image, B).has_seen


def test_a_word_from_a_window_that_was_opened_before_the_first_word_is_not_saved_beside_it(
    database: Database, blind: Settings, image: int
) -> None:
    say(database, blind, image, "PNEUMONIA", is_first=True)
    with pytest.raises(ChangedMeanwhile, match="another window"):
        say(database, blind, image, "NORMAL", is_first=True)
    say(database, blind, image, "PNEUMONIA", B, is_first=True)
    assert [row.label for row in rows(database)] == ["PNEUMONIA", "PNEUMONIA"]
    say(database, blind, image, "NORMAL")
    assert [row.label for row in rows(database)][-1] == "NORMAL", "once it was seen, it can be changed"


def test_the_same_word_sent_twice_is_one_word(database: Database, blind: Settings, image: int) -> None:
    first = say(database, blind, image, submission="abcdefgh")
    assert say(database, blind, image, submission="abcdefgh").review == first.review
    assert len(rows(database)) == 1
    say(database, blind, image, "PNEUMONIA", B, submission="abcdefgh")
    assert len(rows(database)) == 2, "another reader's number is their own"


def test_an_image_that_was_screened_anew_is_not_judged_by_what_was_seen_before(
    database: Database, blind: Settings, image: int
) -> None:
    with pytest.raises(ChangedMeanwhile, match="screened anew") as changed:
        say(database, blind, image, prediction=77)
    assert changed.value.image.sighting == image and rows(database) == []


def test_a_file_that_was_replaced_is_not_judged_by_what_was_seen_before(
    database: Database, blind: Settings, image: int
) -> None:
    (newer,) = drop(database, file("a.png", second=50))
    with pytest.raises(ChangedMeanwhile, match="replaced") as changed:
        say(database, blind, image)
    assert changed.value.image.newer == newer


def test_unclear_and_other_findings_train_nothing_and_go_to_a_senior(
    database: Database, blind: Settings, image: int
) -> None:
    say(database, blind, image, "PNEUMONIA", other_finding=True)
    with database.read() as session:
        assert words.labels_that_train(session) == {"a" * 64: None}
    assert look(database, blind, image).waits_for == "senior"
    senior = look(database, blind, image, S)
    assert [(word.reader, word.label) for word in senior.words] == [(None, "PNEUMONIA")], "a word without a name"
    assert senior.answer is None
    assert say(database, blind, image, "NORMAL", S).is_blind
    assert look(database, blind, image).waits_for is None
    with database.read() as session:
        assert words.labels_that_train(session) == {"a" * 64: "NORMAL"}


def test_the_second_reader_sees_neither_model_nor_first_word(database: Database, tmp_path: Path) -> None:
    settings = load(tmp_path, reading="assisted", second_reading_share=1.0)
    (one,) = in_hand(database, "a.png")
    with database.write() as session:
        work.finish(session, [screened(one, 0.9)], NOW, None, settings.reading_rule_of)
    say(database, settings, one.sighting, "NORMAL")
    second = look(database, settings, one.sighting, B)
    assert second.is_blind and second.answer is None and second.words == []
    assert say(database, settings, one.sighting, "NORMAL", B).is_blind
    assert look(database, settings, one.sighting).waits_for is None, "two equal words close it"


def test_of_a_drawn_image_the_answer_is_never_shown_and_the_word_counts_for_the_draw(
    database: Database, tmp_path: Path, image: int
) -> None:
    settings = load(tmp_path, reading="assisted")
    with database.write() as session:
        session.add(Draw(id=4, source="ward", model_version="v1", seed=1, until=NOW, created_by="Ada", created_at=NOW))
        session.flush()
        member = {"sighting_id": image, "sha256": "a" * 64, "prediction_id": 1, "stratum": 0, "inclusion": 0.5}
        session.add(DrawMember(draw_id=4, number=1, **member))
    saved = say(database, settings, image)
    assert saved.answer is None and not saved.disagrees and saved.is_blind
    assert rows(database)[0].draw_id == 4
    assert look(database, settings, image).answer is None
    with database.read() as session:
        assert [word.label for word in words.words_of_draw(session, 4)] == ["NORMAL"]
    assert say(database, settings, image, "PNEUMONIA").is_blind, "nothing was shown in between"


def test_an_audit_sample_is_read_blind_in_every_source(database: Database, tmp_path: Path, image: int) -> None:
    settings = load(tmp_path, reading="assisted")
    with database.write() as session:
        session.add(
            AuditSample(
                sighting_id=image,
                source="ward",
                sha256="a" * 64,
                prediction_id=1,
                label="PNEUMONIA",
                inclusion=1,
                drawn_at=NOW,
            )
        )
    assert look(database, settings, image).is_blind
    assert say(database, settings, image).is_blind


def test_a_quarantined_image_can_be_called_not_readable_and_nothing_else(database: Database, blind: Settings) -> None:
    (bad,) = in_hand(database, "bad.png")
    finish(database, Quarantined(bad, "the image's data is damaged"))
    with pytest.raises(WorkFailed, match="not readable"):
        say(database, blind, bad.sighting, "NORMAL")
    say(database, blind, bad.sighting, "NOT_READABLE")
    assert [(row.label, row.sha256) for row in rows(database)] == [("NOT_READABLE", None)]


def test_undo_takes_back_one_word_by_a_click_since_the_log_in_and_with_a_reason_later(
    database: Database, blind: Settings, image: int
) -> None:
    saved = say(database, blind, image)
    with database.write() as session, pytest.raises(InvalidRequest, match="older than your log-in"):
        reading.undo(session, saved.review, A, LATER + timedelta(seconds=1), " ", LATER)
    with database.write() as session, pytest.raises(WorkFailed, match="no such word of yours"):
        reading.undo(session, saved.review, B, LATER, "a reason", LATER)
    with database.write() as session:
        assert reading.newest_of(session, A) == saved.review
        assert reading.undo(session, saved.review, A, LATER + timedelta(1), "the wrong key", LATER) == image
    (row,) = rows(database)
    assert (row.withdrawn_by, row.withdrawn_because) == ("A", "the wrong key"), "it stays on record"
    assert look(database, blind, image).waits_for == "first"
    with database.read() as session:
        assert [(entry.action, entry.actor) for entry in session.scalars(select(AuditEntry))] == [
            ("review", "A"),
            ("withdraw", "A"),
        ]


def test_why_a_reader_differs_is_kept_with_the_word(database: Database, blind: Settings, image: int) -> None:
    saved = say(database, blind, image)
    with database.write() as session:
        reading.explain(session, saved.review, A, "film", LATER)
    assert rows(database)[0].disagreement == "film"
    with database.write() as session, pytest.raises(InvalidRequest):
        reading.explain(session, saved.review, A, "because", LATER)
    with database.write() as session, pytest.raises(WorkFailed):
        reading.explain(session, saved.review, B, "film", LATER)
    with database.read() as session:
        (row,) = agreement.disagreements(session, "A")
        assert (row.sighting, row.word, row.label, row.reason) == (image, "NORMAL", "PNEUMONIA", "film")
        assert agreement.disagreements(session, "B") == [row], "nobody is asked about it any more"


def test_a_word_after_the_lease_was_lost_is_kept_and_says_who_has_the_image(
    database: Database, blind: Settings, image: int
) -> None:
    with database.write() as session:
        leases.take(session, image, "a" * 64, "B", LATER)
    assert say(database, blind, image).taken_over_by == "B"
    assert len(rows(database)) == 1


def test_earlier_images_of_a_patient_are_shown_with_the_word_that_counts(database: Database, blind: Settings) -> None:
    pacs = Identifiers(None, None, None, "k" * 64)
    numbers = []
    for place, name in enumerate(("old.dcm", "new.dcm", "someone.dcm")):
        drop(database, file(name, second=place + 1), now=after(place))
        (one,) = claim(database, send_all(database, now=after(place)))
        known = pacs if place < 2 else Identifiers(None, None, None, "z" * 64)
        finish(database, Screened(one, f"{place:064x}", "v1", 0.9, 0.5, "PNEUMONIA", None, known))
        numbers.append(one.sighting)
    say(database, blind, numbers[0], "NORMAL")
    (earlier,) = look(database, blind, numbers[1]).earlier
    assert (earlier.sighting, earlier.word, earlier.rule) == (numbers[0], "NORMAL", "single")
    assert look(database, blind, numbers[0]).earlier == []


def test_missed_pneumonias_lead_the_list_of_disagreements_however_old_they_are(
    database: Database, blind: Settings
) -> None:
    claimed = in_hand(database, "missed.png", "alarm.png", "later.png")
    probabilities = (0.1, 0.9, 0.9)
    outcomes = [
        screened(one, p, content="abc"[n]) for n, (one, p) in enumerate(zip(claimed, probabilities, strict=True))
    ]
    with database.write() as session:
        work.finish(session, outcomes, NOW, None, blind.reading_rule_of)
    for one, label in zip(claimed, ("PNEUMONIA", "NORMAL", "NORMAL"), strict=True):
        say(database, blind, one.sighting, label)
    missed, alarm, later = (one.sighting for one in claimed)
    with database.read() as session:
        assert [row.sighting for row in agreement.disagreements(session, "A")] == [missed, later, alarm]
        assert [row.sighting for row in agreement.disagreements(session, "A", limit=1)] == [missed]


def test_kappa_of_two_readers_leaves_chance_out() -> None:
    say = {"n": "NORMAL", "p": "PNEUMONIA"}

    def kappa(pairs: str) -> float | None:
        return agreement.kappa([(say[pair[0]], say[pair[1]]) for pair in pairs.split()])

    assert kappa("nn pp nn pp") == 1
    assert kappa("np pn np pn") == -1
    assert kappa("nn np pn pp") == 0
    assert kappa("nn nn") is None
    assert kappa("nn nn nn np pp pp pp pn") == pytest.approx(0.5)


def test_each_pair_of_readers_is_compared_on_what_both_read_blind(
    database: Database, blind: Settings, image: int
) -> None:
    say(database, blind, image, "NORMAL")
    say(database, blind, image, "PNEUMONIA", B)
    say(database, blind, image, "NORMAL", B)
    with database.read() as session:
        (pair,) = agreement.pairs(session)
    assert (pair.first, pair.second, pair.images, pair.agreed, pair.kappa) == ("A", "B", 1, 0, 0.0)


def test_a_note_that_is_too_long_and_a_label_that_is_none_are_refused(
    database: Database, blind: Settings, image: int
) -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        say(database, blind, image, note="x" * 2001)
    for wrong in {"label": "HEALTHY"}, {"label": "NORMAL", "prediction": "seven"}:
        with pytest.raises(InvalidRequest):
            reading.parse_word(wrong, image)
    assert reading.parse_word({"label": "normal", "note": " ", "prediction": "", "submission": "12345678"}, 3) == Word(
        3, ReviewLabel.NORMAL, "12345678", None
    )
