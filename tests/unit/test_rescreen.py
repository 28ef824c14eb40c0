"""Another version screens again: what is done stays done until the new result is there, whatever happens on the way."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from actions import promotion
from cli.rescreen import rescreen
from shared.base.errors import BrokenModel, InvalidRequest, PneumoscreenError, WorkFailed
from shared.base.lanes import Lane
from shared.base.settings import Settings
from shared.database import AuditEntry, Database, Job, JobState, OperatingPoint
from shared.ledger import register, rescreening
from shared.ledger.work import Claimed, PutOff, Quarantined, Screened, Superseded
from tests.models import home_with_versions, promote
from tests.points import add_point
from tests.unit.steps import NOW, after, claim, drop, file, finish, in_hand, jobs, rows, screened, send_all, sightings


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    """v1 is live and v2 was; v3 never was."""
    settings = home_with_versions(database, tmp_path, "v1", "v2", "v3")
    for version in ("v2", "v1"):
        promote(database, version, "Ada", NOW)
    return settings


def done(database: Database, *contents: str, version: str = "v1") -> None:
    """Images of these contents, screened by a version."""
    found = in_hand(database, *(f"{content}.png" for content in contents))
    pairs = zip(found, contents, strict=True)
    finish(database, *(screened(claimed, 0.9, content, version) for claimed, content in pairs))


def asked(database: Database, chosen: Settings) -> list[Claimed]:
    """Rescreen everything with v2, and claim what that brings."""
    rescreen(chosen, [], "v2", None, None, "Ada")
    return claim(database, send_all(database, Lane.BACKGROUND))


def results(database: Database) -> list[tuple[str, str, str | None]]:
    return [(row["path"], row["state"], row["model_version"]) for row in rows(database)]


def test_a_rescreen_asks_for_the_version_in_the_background_and_leaves_the_result(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    done(database, "a", "b")
    rescreen(chosen, [], "v2", None, None, "Ada")
    new = jobs(database)[2:]
    assert [(job.lane, job.state, job.model_version) for job in new] == [("background", "unsent", "v2")] * 2
    assert results(database) == [("a.png", "done", "v1"), ("b.png", "done", "v1")]
    assert "2 images are screened again by v2" in capsys.readouterr().out


def test_the_new_result_takes_the_place_of_the_old_one_which_stays_in_the_history(
    database: Database, chosen: Settings
) -> None:
    done(database, "a")
    (claimed,) = asked(database, chosen)
    assert claimed.model_version == "v2"
    finish(database, screened(claimed, 0.1, "a", "v2"), now=after(9))
    assert results(database) == [("a.png", "done", "v2")]
    history = [
        (row["model_version"], row["probability"], row["is_result"]) for row in rows(database, "results_history")
    ]
    assert history == [("v1", 0.9, 0), ("v2", 0.1, 1)]


def test_the_old_result_stays_if_the_file_is_gone(database: Database, chosen: Settings) -> None:
    done(database, "a")
    (claimed,) = asked(database, chosen)
    finish(database, Quarantined(claimed, "the file is gone: it was removed from its source"))
    assert results(database) == [("a.png", "done", "v1")]
    assert [row["reason"] for row in rows(database)] == [None]
    job = jobs(database)[-1]
    assert (job.state, job.problem) == (JobState.FINISHED, "the file is gone: it was removed from its source")


def test_the_old_result_stays_while_the_world_is_at_fault(database: Database, chosen: Settings) -> None:
    done(database, "a")
    (claimed,) = asked(database, chosen)
    finish(database, PutOff(claimed, "the share is away", after(8)))
    assert results(database) == [("a.png", "done", "v1")]
    assert jobs(database)[-1].state == JobState.UNSENT


def test_a_file_that_changed_is_a_new_drop_for_the_same_version_and_the_old_result_stays(
    database: Database, chosen: Settings
) -> None:
    done(database, "a")
    (claimed,) = asked(database, chosen)
    finish(database, Superseded(claimed, file(size=99), after(1)))
    old, new = sightings(database)
    assert (old.state, old.prediction_id is not None, new.state, new.size) == ("done", True, "waiting", 99)
    job = jobs(database)[-1]
    assert (job.sighting_id, job.model_version, job.lane) == (new.id, "v2", "background")


def test_a_change_that_the_producer_saw_first_is_registered_once(database: Database, chosen: Settings) -> None:
    done(database, "a")
    (claimed,) = asked(database, chosen)
    drop(database, file("a.png", size=99))
    finish(database, Superseded(claimed, file(size=99), after(1)))
    assert [sighting.state for sighting in sightings(database)] == ["done", "waiting"]


def test_a_content_that_the_version_has_seen_needs_no_file(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    done(database, "a", version="v2")
    done(database, "b")
    (copy,) = in_hand(database, "copy of a.png")
    finish(database, screened(copy, 0.9, "a", "v1"))
    rescreen(chosen, [], "v2", None, None, None)
    assert ("copy of a.png", "done", "v2") in results(database)
    assert [job.sighting_id for job in jobs(database) if job.model_version == "v2"] == [
        next(sighting.id for sighting in sightings(database) if sighting.path == "b.png")
    ]
    assert "1 images are screened again by v2" in capsys.readouterr().out


def test_asking_twice_adds_nothing(database: Database, chosen: Settings) -> None:
    done(database, "a", "b")
    for _ in range(2):
        rescreen(chosen, [], "v2", None, None, "Ada")
    assert len(jobs(database)) == 4


def test_only_what_is_done_and_newest_is_screened_again(database: Database, chosen: Settings) -> None:
    done(database, "a", version="v2")
    done(database, "b")
    in_hand(database, file("b.png", size=11))  # a newer drop waits already
    (bad,) = in_hand(database, "c.png")
    finish(database, Quarantined(bad, "not an image"))
    rescreen(chosen, [], "v2", None, None, "Ada")
    assert [job for job in jobs(database) if job.model_version] == []


def test_a_folder_and_a_day_narrow_it_down(database: Database, chosen: Settings) -> None:
    done(database, "a")
    rescreen(chosen, [], "v2", "submitted", None, "Ada")
    rescreen(chosen, [], "v2", None, f"{NOW + timedelta(days=1):%Y-%m-%d}", "Ada")
    assert len(jobs(database)) == 1
    rescreen(chosen, [], "v2", "ward", f"{NOW:%Y-%m-%d}", "Ada")
    assert len(jobs(database)) == 2


@pytest.mark.parametrize("name", ["a.png", "ward/a.png", "1", "A" * 64])
def test_only_the_images_that_are_named_are_screened_again(database: Database, chosen: Settings, name: str) -> None:
    done(database, "a", "b")
    rescreen(chosen, [name], "v2", None, None, "Ada")
    assert [job.sighting_id for job in jobs(database) if job.model_version == "v2"] == [1]


def test_a_name_that_means_no_image_is_refused_and_nothing_is_asked_for(database: Database, chosen: Settings) -> None:
    done(database, "a")
    with pytest.raises(WorkFailed, match=r"no image 'c\.png'"):
        rescreen(chosen, ["a.png", "c.png"], "v2", None, None, "Ada")
    assert len(jobs(database)) == 1


def test_what_makes_no_sense_is_said(database: Database, chosen: Settings) -> None:
    with pytest.raises(BrokenModel, match="There is no model version 'v9'"):
        rescreen(chosen, [], "v9", None, None, "Ada")
    with pytest.raises(InvalidRequest, match=r"There is no source named 'attic'; there are: .*ward"):
        rescreen(chosen, [], "v2", "attic", None, "Ada")
    for since in ("yesterday", "0001-01-01T00:00+14:00"):
        with pytest.raises(PneumoscreenError, match="--since"):
            rescreen(chosen, [], "v2", None, since, "Ada")


def test_many_are_added_a_part_at_a_time_with_one_line_in_the_audit_log(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescreening, "MAX_ROWS", 3)
    done(database, "a", "b", "c")
    done(database, "d", "e", "f")
    rescreen(chosen, [], "v2", None, None, "Ada")
    assert len(jobs(database)) == 12
    with database.read() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "rescreen")).all()
    assert [(entry.actor, entry.detail) for entry in entries] == [("Ada", "v2: 6 results of other versions")]


def test_a_rescreen_takes_over_only_what_the_sources_own_point_has_read(database: Database, chosen: Settings) -> None:
    done(database, "a", version="v2")
    (again,) = in_hand(database, "b.png")
    finish(database, screened(again, 0.9, "a", "v1"))
    point = add_point(database, "ward", "v2", threshold=0.7)
    with database.write() as session:
        part = rescreening.rescreen_part(session, rescreening.Selection(version="v2"), NOW, 0)
    assert (part.seen_before, part.added) == (0, 1), "v2 has screened it, but by its own threshold"
    with database.write() as session:
        session.get_one(OperatingPoint, point).retired_at = NOW
        session.execute(delete(Job).where(Job.state != JobState.FINISHED))
    with database.write() as session:
        part = rescreening.rescreen_part(session, rescreening.Selection(version="v2"), NOW, 0)
    assert (part.seen_before, part.added) == (1, 0)


def test_an_image_that_the_version_has_screened_keeps_the_reading_of_its_day_and_that_is_said(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (first,) = in_hand(database, "a.png")
    finish(database, screened(first, 0.3, "a", "v2"))
    with database.write() as session:
        register.add_jobs(session, [first.sighting], Lane.BACKGROUND, NOW, model_version="v1")
    (claimed,) = claim(database, send_all(database, Lane.BACKGROUND))
    finish(database, screened(claimed, 0.3, "a", "v1"))
    point = add_point(database, "ward", "v2", threshold=0.2)
    rescreen(chosen, [], "v2", None, None, "Ada")
    assert "1 had been screened so before, by another operating point" in capsys.readouterr().out
    assert len(jobs(database)) == 2, "no worker has to read it"
    (row,) = rows(database)
    assert (row["model_version"], row["label"], row["operating_point"]) == ("v2", "NORMAL", None)

    with database.write() as session:
        register.add_jobs(session, [first.sighting], Lane.BACKGROUND, NOW, model_version="v2")
    (claimed,) = claim(database, send_all(database, Lane.BACKGROUND))
    outcome = replace(screened(claimed, 0.3, "a", "v2"), label="PNEUMONIA", threshold=0.2, operating_point_id=point)
    (counted,) = finish(database, outcome, now=after(9))
    assert isinstance(counted, Screened)
    figures = (counted.label, counted.threshold, counted.operating_point_id, counted.is_kept)
    assert figures == ("NORMAL", 0.5, None, True)
    (again,) = rows(database)
    assert (again["label"], again["threshold"], again["operating_point"]) == ("NORMAL", 0.5, None)


def test_where_the_picture_is_the_same_another_point_changes_no_result(database: Database, chosen: Settings) -> None:
    (first,) = in_hand(database, "a.png")
    finish(database, replace(screened(first, 0.9, "a", "v1"), logit=2.2))
    for logit, expected in ((2.2005, [0.9]), (1.2, [0.9, 0.3])):
        with database.write() as session:
            register.add_jobs(session, [first.sighting], Lane.BACKGROUND, NOW, model_version="v1", if_differs=True)
        (claimed,) = claim(database, send_all(database, Lane.BACKGROUND))
        outcome = replace(screened(claimed, 0.3, "a", "v1"), logit=logit, threshold=0.2, operating_point_id=7)
        finish(database, replace(outcome, decoder_revision=outcome.decoder_revision + (logit < 2)), now=after(9))
        assert [row["probability"] for row in rows(database, "results_history")] == expected


def overrides(database: Database, view: str = "results") -> list[tuple[str | None, str | None]]:
    return [(row["model_version"], row["override"]) for row in rows(database, view)]


@pytest.mark.parametrize("why", ["was never live", "was rejected", r"was rolled back \(a mistake\)"])
def test_a_version_that_is_not_in_service_writes_results_only_with_a_name_and_a_reason_which_stand_beside_them(
    database: Database, chosen: Settings, why: str
) -> None:
    if why == "was rejected":
        with database.write() as session:
            promotion.reject(session, "v3", "trainer", NOW, "{}")
    elif why != "was never live":
        promote(database, "v3", "Ada", NOW)
        promotion.rollback(database, "Ada", NOW, "a mistake")
    done(database, "a")
    with pytest.raises(InvalidRequest, match=f"v3 {why}, so its answers may not become results"):
        rescreen(chosen, [], "v3", None, None, "Ada")
    with pytest.raises(InvalidRequest, match="missing actor: use --by NAME"):
        rescreen(chosen, [], "v3", None, None, None, reason="a study")
    assert len(jobs(database)) == 1
    rescreen(chosen, [], "v3", None, None, "Ada", reason=" a study ")
    (claimed,) = claim(database, send_all(database, Lane.BACKGROUND))
    assert (claimed.model_version, claimed.override) == ("v3", "Ada: a study")
    finish(database, screened(claimed, 0.1, "a", "v3"))
    assert overrides(database) == [("v3", "Ada: a study")]
    assert overrides(database, "results_history") == [("v1", None), ("v3", "Ada: a study")]
    with database.read() as session:
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert entry is not None
    assert (entry.actor, entry.detail) == ("Ada", "v3: 1 results of other versions; not in service: v3: a study")


def test_what_such_a_version_said_of_the_same_content_before_is_marked_too(
    database: Database, chosen: Settings
) -> None:
    done(database, "a", version="v3")
    (copy,) = in_hand(database, "copy of a.png")
    finish(database, screened(copy, 0.9, "a", "v1"))
    rescreen(chosen, ["copy of a.png"], "v3", None, None, "Ada", reason="a study")
    assert overrides(database) == [("v3", None), ("v3", "Ada: a study")]


@pytest.mark.parametrize("by_a_worker", [False, True])
def test_what_such_a_version_wrote_while_it_was_in_service_is_marked_when_it_becomes_the_result_again(
    database: Database, chosen: Settings, by_a_worker: bool
) -> None:
    promote(database, "v3", "Ada", NOW)
    (claimed,) = in_hand(database, "a.png")
    finish(database, screened(claimed, 0.9, "a", "v3"))
    promotion.rollback(database, "Ada", NOW, "a mistake")

    def rescreened(version: str, reason: str | None) -> None:
        rescreen(chosen, [], version, None, None, "Ada", reason=reason)
        if by_a_worker and reason is not None:
            with database.write() as session:
                add = (session, [claimed.sighting], Lane.BACKGROUND, NOW)
                register.add_jobs(*add, model_version=version, override=f"Ada: {reason}")
        if version == "v1" or by_a_worker:
            again = claim(database, send_all(database, Lane.BACKGROUND))
            finish(database, *(screened(job, 0.9, "a", version) for job in again))

    rescreened("v1", None)
    rescreened("v3", "a study")
    assert overrides(database) == [("v3", "Ada: a study")]
    assert overrides(database, "results_history") == [("v1", None), ("v3", "Ada: a study")]
    rescreen(chosen, [], "v1", None, None, "Ada")
    assert overrides(database) == [("v1", None)]


def test_a_reason_marks_nothing_where_the_version_is_in_service(database: Database, chosen: Settings) -> None:
    done(database, "a")
    rescreen(chosen, [], "v2", None, None, "Ada", reason="it is better")
    assert [job.override for job in jobs(database)] == [None, None]


def test_each_result_s_own_version_reads_it_again_only_while_it_is_in_service(
    database: Database, chosen: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for content, version in (("a", "v1"), ("b", "v3")):
        (claimed,) = in_hand(database, f"{content}.png")
        finish(database, replace(screened(claimed, 0.9, content, version), decoder_revision=0))
    rescreen(chosen, [], None, None, None, "Ada", decoded_before=1)
    assert [job.model_version for job in jobs(database)[2:]] == ["v1"]
    assert "1 results of v3 are left alone, since that version is not in service" in capsys.readouterr().out
    rescreen(chosen, [], None, None, None, "Ada", decoded_before=1, reason="a study")
    assert [(job.model_version, job.override) for job in jobs(database)[2:]] == [
        ("v1", None),
        ("v3", "Ada: a study"),
    ]


def test_what_waited_for_a_version_that_was_rolled_back_since_is_overridden_with_the_rest(
    database: Database, chosen: Settings
) -> None:
    promote(database, "v3", "Ada", NOW)
    done(database, "a")
    rescreen(chosen, [], "v3", None, None, "Ada")
    promotion.rollback(database, "Ada", NOW, "a mistake")
    rescreen(chosen, [], "v3", None, None, "Ada", reason="a study")
    assert [job.override for job in jobs(database)] == [None, "Ada: a study"]


def test_a_file_that_changed_since_is_new_and_gets_the_live_version(database: Database, chosen: Settings) -> None:
    done(database, "a")
    rescreen(chosen, [], "v3", None, None, "Ada", reason="a study")
    (claimed,) = claim(database, send_all(database, Lane.BACKGROUND))
    finish(database, Superseded(claimed, file(size=99), after(1)))
    assert (jobs(database)[-1].model_version, jobs(database)[-1].override) == (None, None)
