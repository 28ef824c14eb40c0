"""What an older decoder read may be wrong: such results are told of, read again when asked, and never lost."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from actions import reviews
from actions.reviews import ReviewEntry
from cli.rescreen import rescreen
from cli.results import results
from queries import needs
from queries.results import Filters
from shared.base import decoder
from shared.base.errors import BrokenModel, InvalidRequest, Removed, WorkFailed
from shared.base.lanes import Lane
from shared.base.settings import Settings
from shared.database import Database, Prediction, ReviewLabel
from shared.ledger import register, retention
from shared.ledger.work import Claimed, Quarantined, Screened, Superseded
from tests.models import home_with_versions, promote
from tests.unit.steps import NOW, after, claim, file, finish, in_hand, jobs, rows, screened, send_all

REVISION = decoder.DECODER_REVISION


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    """v1 is live, and v2 was."""
    settings = home_with_versions(database, tmp_path, "v1", "v2")
    for version in ("v2", "v1"):
        promote(database, version, "Ada", NOW)
    return settings


def said(
    claimed: Claimed, probability: float, content: str, version: str = "v1", revision: int = REVISION, note: str = ""
) -> Screened:
    label = "PNEUMONIA" if probability >= 0.5 else "NORMAL"
    values = {"decoder_revision": revision, "decoded_with": note or None, "logit": 4 * probability - 2}
    return Screened(claimed, content * 64, version, probability, 0.5, label, **values)


def by_an_older_decoder(database: Database, *contents: str, version: str = "v1", probability: float = 0.9) -> None:
    found = in_hand(database, *(f"{content}.dcm" for content in contents))
    pairs = zip(found, contents, strict=True)
    finish(database, *(said(claimed, probability, content, version, 0) for claimed, content in pairs))


def asked(
    database: Database, chosen: Settings, *, where_differs: bool = True, model: str | None = None
) -> list[Claimed]:
    """Have results of older decoders read again, and claim what that brings."""
    rescreen(chosen, [], model, None, None, "Ada", decoded_before=REVISION, where_differs=where_differs)
    return claim(database, send_all(database, Lane.BACKGROUND))


def refused(claimed: Claimed, content: str) -> Quarantined:
    return Quarantined(claimed, "the body part is THORACIC SPINE", content * 64, is_refused=True)


def told(database: Database) -> list[str]:
    with database.read() as session:
        return list(needs.older_decoder(session))


def test_a_row_says_what_was_assumed_and_by_which_decoder(database: Database) -> None:
    followed, repaired = in_hand(database, "a.dcm", "b.dcm")
    finish(database, said(followed, 0.9, "a"), said(repaired, 0.2, "b", note="a window is not used"))
    shown = [(row["path"], row["decoder_revision"], row["decoded_with"], row["repaired"]) for row in rows(database)]
    assert shown == [("a.dcm", REVISION, None, False), ("b.dcm", REVISION, "a window is not used", True)]
    assert [row["logit"] for row in rows(database)] == pytest.approx([1.6, -1.2])


def test_rows_of_earlier_schemas_are_of_no_decoder_that_is_known(database: Database) -> None:
    by_an_older_decoder(database, "a")
    (row,) = rows(database)
    assert (row["decoder_revision"], row["decoded_with"], row["repaired"]) == (0, None, None)


def test_the_same_bytes_under_two_names_have_the_same_figures(database: Database) -> None:
    first, second, third = in_hand(database, "a.png", "b.png", "c.png")
    finish(database, said(first, 0.9, "a"))
    finish(database, said(second, 0.9000001, "a"), now=after(1))
    finish(database, said(third, 0.8999999, "a"), now=after(2))
    assert [row["probability"] for row in rows(database)] == [0.9] * 3


def test_the_same_bytes_twice_in_one_batch_have_the_same_figures(database: Database) -> None:
    first, second = in_hand(database, "a.png", "b.png")
    finish(database, said(first, 0.5000001, "a"), said(second, 0.4999999, "a"))
    assert [(row["probability"], row["label"]) for row in rows(database)] == [(0.5000001, "PNEUMONIA")] * 2
    assert {row["logit"] for row in rows(database)} == {4 * 0.5000001 - 2}


def test_where_the_answer_is_the_same_the_result_stays_and_is_no_longer_told_of(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    by_an_older_decoder(database, "a")
    before = rows(database)[0]
    (sentence,) = told(database)
    assert sentence.endswith("an older decoder may have read wrongly: 1 result")
    assert f"rescreen --decoded-before {REVISION} --where-differs" in sentence
    (claimed,) = asked(database, chosen)
    assert "1 images are screened again by v1" in capsys.readouterr().out
    finish(database, said(claimed, 0.9004, "a", note="a window is not used"), now=after(9))
    (row,) = rows(database)
    assert row == before | {
        "decoder_revision": REVISION,
        "decoded_with": "a window is not used",
        "repaired": row["repaired"],
    }
    assert row["repaired"]
    assert len(rows(database, "results_history")) == 1
    assert told(database) == []


def test_where_the_answer_differs_it_becomes_the_result_and_the_old_one_stays_in_the_history(
    database: Database, chosen: Settings
) -> None:
    by_an_older_decoder(database, "a", "b")
    inverted, moved = asked(database, chosen)
    finish(database, said(inverted, 0.1, "a"), said(moved, 0.95, "b"), now=after(9))
    history = [
        (row["path"], row["decoder_revision"], row["probability"], row["is_result"])
        for row in rows(database, "results_history")
    ]
    assert sorted(history) == [
        ("a.dcm", 0, 0.9, 0),
        ("a.dcm", REVISION, 0.1, 1),
        ("b.dcm", 0, 0.9, 0),
        ("b.dcm", REVISION, 0.95, 1),
    ]
    assert told(database) == []


def test_each_name_of_a_content_keeps_its_result_or_gets_the_new_one(database: Database, chosen: Settings) -> None:
    by_an_older_decoder(database, "a", "b")
    copies = in_hand(database, "copy of a.dcm", "copy of b.dcm")
    finish(database, *(said(copy, 0.9, content, revision=0) for copy, content in zip(copies, "ab", strict=True)))
    found = asked(database, chosen)
    assert len(found) == 4
    for claimed in found:  # one after the other, as two workers would
        content = "a" if "a.dcm" in str(claimed.path) else "b"
        finish(database, said(claimed, 0.9 if content == "a" else 0.1, content), now=after(9))
    assert [(row["path"], row["probability"], row["decoder_revision"]) for row in rows(database)] == [
        ("a.dcm", 0.9, REVISION),
        ("b.dcm", 0.1, REVISION),
        ("copy of a.dcm", 0.9, REVISION),
        ("copy of b.dcm", 0.1, REVISION),
    ]


def test_what_the_newer_decoder_refuses_is_quarantined_with_its_reason_and_the_old_result_is_history(
    database: Database, chosen: Settings
) -> None:
    by_an_older_decoder(database, "a")
    (claimed,) = asked(database, chosen)
    finish(database, refused(claimed, "a"))
    (row,) = rows(database)
    assert (row["state"], row["reason"], row["label"]) == ("quarantined", "the body part is THORACIC SPINE", None)
    (old,) = rows(database, "results_history")
    assert (old["label"], old["is_result"]) == ("PNEUMONIA", 0)
    assert told(database) == []


def test_a_result_whose_file_is_gone_stays_and_is_still_told_of(database: Database, chosen: Settings) -> None:
    by_an_older_decoder(database, "a")
    (claimed,) = asked(database, chosen)
    finish(database, Quarantined(claimed, Removed.REASON))
    assert [(row["state"], row["label"]) for row in rows(database)] == [("done", "PNEUMONIA")]
    assert len(told(database)) == 1


def test_each_result_is_read_again_by_its_own_version_unless_one_is_named(database: Database, chosen: Settings) -> None:
    by_an_older_decoder(database, "a", version="v1")
    by_an_older_decoder(database, "b", version="v2")
    found = asked(database, chosen, where_differs=False)
    found += claim(database, send_all(database, Lane.BACKGROUND))  # a message is of one version
    assert [claimed.model_version for claimed in found] == ["v1", "v2"]
    finish(database, *(said(c, 0.9, content, c.model_version or "") for c, content in zip(found, "ab", strict=True)))
    assert len(rows(database, "results_history")) == 4
    by_an_older_decoder(database, "c", version="v1")
    (claimed,) = asked(database, chosen, where_differs=False, model="v2")
    assert claimed.model_version == "v2"


def test_a_result_that_another_version_made_meanwhile_stays(database: Database, chosen: Settings) -> None:
    by_an_older_decoder(database, "a", version="v1")
    (older,) = asked(database, chosen)
    rescreen(chosen, [], "v2", None, None, "Ada")
    (newer,) = claim(database, send_all(database, Lane.BACKGROUND))
    finish(database, said(newer, 0.7, "a", "v2"))
    finish(database, said(older, 0.1, "a", "v1"))
    assert [(row["model_version"], row["probability"]) for row in rows(database)] == [("v2", 0.7)]


def test_results_of_this_decoder_are_left_alone(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(database, *(screened(claimed) for claimed in in_hand(database, "a.dcm")))
    rescreen(chosen, [], None, None, None, "Ada", decoded_before=REVISION)
    assert len(jobs(database)) == 1
    assert f"No result was decoded before revision {REVISION}." in capsys.readouterr().out
    assert told(database) == []


def test_another_version_s_rescreen_does_not_take_what_an_older_decoder_read(
    database: Database, chosen: Settings
) -> None:
    by_an_older_decoder(database, "a", version="v2")
    (copy,) = in_hand(database, "copy.dcm")
    finish(database, said(copy, 0.2, "a", "v1", revision=0))
    rescreen(chosen, ["copy.dcm"], "v2", None, None, "Ada", decoded_before=REVISION)
    assert [job.model_version for job in jobs(database)] == [None, None, "v2"]


@pytest.mark.parametrize(
    ("asked_for", "reason"),
    [
        ({}, "--model VERSION .* --decoded-before REVISION"),
        ({"decoded_before": 0}, "from 1 to"),
        ({"decoded_before": REVISION + 1}, "from 1 to"),
        ({"where_differs": True, "model": "v2"}, "goes with --decoded-before"),
        ({"decoded_before": 1, "where_differs": True, "model": "v2"}, "not with --model"),
    ],
)
def test_what_makes_no_sense_is_said(
    database: Database, chosen: Settings, asked_for: dict[str, object], reason: str
) -> None:
    options = {"model": None, "source": None, "since": None, "by": "Ada", **asked_for}
    with pytest.raises(InvalidRequest, match=reason):
        rescreen(chosen, [], **options)


def test_results_of_a_version_whose_folder_is_gone_are_left_alone_and_told_of(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    by_an_older_decoder(database, "a", version="v1")
    by_an_older_decoder(database, "b", version="v2")
    (chosen.models / "v1" / "manifest.json").unlink()
    (claimed,) = asked(database, chosen)
    assert claimed.model_version == "v2"
    assert "1 results of v1 are left alone, since this host cannot load that version" in capsys.readouterr().out
    with pytest.raises(BrokenModel, match="v1"):
        asked(database, chosen, where_differs=False, model="v1")


def test_asking_again_says_that_they_wait_and_a_plain_request_makes_them_unconditional(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    by_an_older_decoder(database, "a")
    for where_differs in (True, True, False):
        rescreen(chosen, [], None, None, None, "Ada", decoded_before=REVISION, where_differs=where_differs)
    assert capsys.readouterr().out.count("1 had been asked for already, and wait.") == 2
    assert [(job.model_version, job.if_differs) for job in jobs(database)] == [(None, False), ("v1", False)]


def test_a_version_that_saw_a_content_with_an_older_decoder_only_looks_again(
    database: Database, chosen: Settings
) -> None:
    by_an_older_decoder(database, "a", version="v2")
    rescreen(chosen, [], "v1", None, None, "Ada")
    (claimed,) = claim(database, send_all(database, Lane.BACKGROUND))
    finish(database, said(claimed, 0.1, "a", "v1"))
    rescreen(chosen, [], "v2", None, None, "Ada")
    assert [(row["model_version"], row["probability"]) for row in rows(database)] == [("v1", 0.1)]
    assert jobs(database)[-1].model_version == "v2"


def test_what_is_no_refusal_of_the_decoder_takes_no_result_away(database: Database, chosen: Settings) -> None:
    by_an_older_decoder(database, "a")
    (claimed,) = asked(database, chosen)
    finish(database, Quarantined(claimed, "there is not enough memory to decode the image", "a" * 64))
    assert [(row["state"], row["label"]) for row in rows(database)] == [("done", "PNEUMONIA")]


def test_an_image_that_was_refused_is_retried_by_whichever_version_is_live(
    database: Database, chosen: Settings
) -> None:
    by_an_older_decoder(database, "a")
    (claimed,) = asked(database, chosen)
    finish(database, refused(claimed, "a"))
    with database.write() as session:
        register.retry(session, [claimed.sighting], after(9))
    (again,) = claim(database, send_all(database, now=after(10)))
    finish(database, said(again, 0.2, "a"), now=after(11))
    assert [(row["state"], row["label"]) for row in rows(database)] == [("done", "NORMAL")]


def test_a_file_that_changed_meanwhile_is_for_whichever_version_is_live(database: Database, chosen: Settings) -> None:
    by_an_older_decoder(database, "a")
    (claimed,) = asked(database, chosen)
    finish(database, Superseded(claimed, file(size=99), after(1)))
    assert jobs(database)[-1].model_version is None


def test_an_image_that_is_unfamiliar_now_gets_a_new_result(database: Database, chosen: Settings) -> None:
    by_an_older_decoder(database, "a")
    (claimed,) = asked(database, chosen)
    finish(database, replace(said(claimed, 0.9, "a"), unfamiliar=True))
    assert [(row["unfamiliar"], row["decoder_revision"]) for row in rows(database)] == [(True, REVISION)]


def test_a_word_is_refused_on_an_image_that_the_decoder_refuses_now(database: Database, chosen: Settings) -> None:
    by_an_older_decoder(database, "a")
    (claimed,) = asked(database, chosen)
    finish(database, refused(claimed, "a"))
    with pytest.raises(WorkFailed, match="was not screened"), database.write() as session:
        reviews.review(session, ReviewEntry("a.dcm", ReviewLabel.NORMAL, "Ada"), after(9))


def test_repaired_images_are_listed(database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    followed, repaired = in_hand(database, "a.dcm", "b.dcm")
    finish(database, said(followed, 0.9, "a"), said(repaired, 0.2, "b", note="a window is not used"))
    results(chosen, Filters(repaired=True), format="csv")
    printed = capsys.readouterr().out
    assert "a window is not used" in printed and "b.dcm" in printed and "a.dcm" not in printed


def test_a_pruned_prediction_takes_its_screenings_along(database: Database, chosen: Settings) -> None:
    by_an_older_decoder(database, "a")
    (claimed,) = asked(database, chosen, where_differs=False)
    # Other bytes under the same size and second: older programs let them take the result's place.
    finish(database, said(replace(claimed, sha256=None), 0.1, "b"))
    with database.write() as session:
        retention.delete_contents(session, Prediction, ["a" * 64])
    assert [row["probability"] for row in rows(database, "results_history")] == [0.1]


def test_the_audit_log_says_who_had_them_read_again(database: Database, chosen: Settings) -> None:
    by_an_older_decoder(database, "a")
    asked(database, chosen)
    with database.read() as session:
        detail = session.scalar(text("SELECT detail FROM audit_log WHERE action = 'rescreen' AND actor = 'Ada'"))
    assert detail == f"the version of each: 1 results decoded before revision {REVISION}, where it differs"


def test_results_are_not_counted_without_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "MAX_COUNTED", 2)
    by_an_older_decoder(database, "a", "b", "c")
    assert told(database)[0].endswith(": 2 results or more")
