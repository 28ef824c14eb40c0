"""Images are drawn as they are screened, read blind, and tell how many the running system misses."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from actions import operating_points
from cli.accuracy import accuracy
from cli.results import results
from cli.review import review
from producer.accuracy_metrics import AccuracyFigures
from queries import accuracy as query
from queries.accuracy_needs import of_accuracy
from queries.results import Filters
from queries.status import status
from shared.base.settings import load
from shared.base.source_settings import AuditShare
from shared.database import AuditSample, Database, ModelVersion, Prediction, Promotion, Review, Screening, Sighting
from shared.ledger import audit_samples, retention, work
from shared.ledger.register import add_jobs
from shared.ledger.work import Screened
from tests.points import add_point
from tests.unit.steps import NOW, after, claim, file, in_hand, rows, screened, send_all

DAY = 24 * 3600.0


def finish(database: Database, *outcomes: Screened, negatives: float = 1.0, rest: float = 1.0) -> None:
    with database.write() as session:
        work.finish(session, outcomes, NOW, lambda _: AuditShare(negatives=negatives, rest=rest))


def samples(database: Database) -> list[dict[str, Any]]:
    with database.read() as session:
        found = session.execute(text("SELECT * FROM audit_samples ORDER BY sighting_id"))
        return [dict(row) for row in found.mappings()]


def test_a_share_of_one_draws_everything_and_a_share_of_none_nothing(database: Database) -> None:
    ill, well = in_hand(database, "ill.png", "well.png")
    finish(database, screened(ill, 0.9, "a"), screened(well, 0.1, "b"), negatives=0.0)
    (drawn,) = samples(database)
    assert (drawn["sighting_id"], drawn["source"], drawn["sha256"], drawn["label"], drawn["inclusion"]) == (
        *(ill.sighting, "ward", "a" * 64, "PNEUMONIA", 1.0),
    )


def test_two_sightings_of_one_content_are_one_sample_and_a_message_that_comes_twice_changes_nothing(
    database: Database,
) -> None:
    first, copy = in_hand(database, "first.png", "copy.png")
    outcomes = screened(first), screened(copy)
    finish(database, *outcomes)
    finish(database, *outcomes)
    (later,) = in_hand(database, file("later.png", second=9))
    finish(database, screened(later))
    assert [row["sighting_id"] for row in samples(database)] == [first.sighting]


def test_a_rescreen_draws_nothing(database: Database) -> None:
    (image,) = in_hand(database, "a.png")
    finish(database, screened(image), negatives=0.0, rest=0.0)
    with database.write() as session:
        add_jobs(session, [image.sighting], "routine", NOW, model_version="v2")
    (again,) = claim(database, send_all(database))
    finish(database, screened(again, version="v2"))
    assert samples(database) == []


def test_of_many_images_the_share_is_drawn_and_that_of_another_source_is_another() -> None:
    contents = [f"{number:064x}" for number in range(20_000)]
    drawn = [{c for c in contents if audit_samples.position(source, c) < 0.02} for source in ("ward", "surgery")]
    assert all(abs(len(part) - 400) < 80 for part in drawn)
    assert len(drawn[0] & drawn[1]) < 30


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({}, (0.02, 0.05)),
        ({"audit_share": 0.1}, (0.1, 0.1)),
        ({"audit_share": {"negatives": 0.5}}, (0.5, 0.05)),
        ({"sources": {"ward": {"path": "/ward", "audit_share": {"rest": 0.0}}}}, (0.02, 0.0)),
    ],
)
def test_a_source_has_its_own_share_or_that_of_all(
    tmp_path: Path, given: dict[str, Any], share: tuple[float, float]
) -> None:
    found = load(tmp_path, **given).audit_share_of("ward")
    assert (found.of("NORMAL"), found.of("PNEUMONIA")) == share


def listed(tmp_path: Path, capsys: pytest.CaptureFixture[str], *, blind: bool = False) -> list[dict[str, str]]:
    results(load(tmp_path, reading="assisted"), Filters(to_review=True, blind=blind), None, "csv")
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_the_reading_list_shows_an_audit_sample_without_the_models_answer_until_it_was_read_blind(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn, other = in_hand(database, "drawn.png", "other.png")
    finish(database, screened(drawn, 0.9, "a"), negatives=0.0)
    finish(database, screened(other, 0.8, "b"), rest=0.0)
    first, second = sorted(listed(tmp_path, capsys), key=lambda row: row["path"])
    assert (first["path"], first["why"], first["label"], first["probability"], first["threshold"]) == (
        *("drawn.png", "audit sample", "", "", ""),
    )
    assert (second["path"], second["label"], second["probability"]) == ("other.png", "PNEUMONIA", "0.8")
    assert {row["probability"] for row in listed(tmp_path, capsys, blind=True)} == {""}
    review(load(tmp_path), "drawn.png", "NORMAL", "Dr. A", None, None)
    capsys.readouterr()
    assert "drawn.png" in {row["path"] for row in listed(tmp_path, capsys)}, "that word was not blind"
    review(load(tmp_path), "drawn.png", "NORMAL", "Dr. B", None, None, blind=True)
    assert "the model said" not in capsys.readouterr().out
    assert {row["path"] for row in listed(tmp_path, capsys)} == {"other.png"}
    assert not rows(database)[0]["awaits_blind_reading"]


def put(
    database: Database, *groups: tuple[str, str | None, int], source: str = "ward", point: int | None = None
) -> None:
    """Audit samples: what the system said, what a blind reader said (None: nobody has read it), how many."""
    shares = {"NORMAL": 0.02, "PNEUMONIA": 0.05}
    with database.write() as session:
        if session.get(ModelVersion, "v1") is None:
            session.add(ModelVersion(version="v1", manifest_sha256="0" * 64, created_at=NOW))
            session.flush()
            session.add(Promotion(version="v1", promoted_by="Ada", promoted_at=NOW))
        number = session.query(AuditSample).count()
        for said, word, count in groups:
            for _ in range(count):
                number += 1
                digest = f"{number:064x}"
                session.add(
                    Prediction(id=number, sha256=digest, model_version="v1", decoder_revision=1, created_at=NOW)
                )
                session.flush()
                sighting = {"source": source, "path": f"{number}.png", "size": 1, "state": "done", "seen_at": NOW}
                session.add(Sighting(id=number, sha256=digest, prediction_id=number, finished_at=NOW, **sighting))
                session.flush()
                answer = {"probability": 0.5, "threshold": 0.5, "label": said, "created_at": NOW}
                session.add(Screening(sighting_id=number, prediction_id=number, operating_point_id=point, **answer))
                values = {"source": source, "sha256": digest, "label": said, "drawn_at": NOW}
                session.add(AuditSample(sighting_id=number, prediction_id=number, inclusion=shares[said], **values))
                if word is not None:
                    given = {"method": "cli", "is_blind": True, "created_at": NOW}
                    session.add(Review(sha256=digest, label=word, reviewer="Dr. A", **given))


def view(database: Database) -> dict[str, Any]:
    with database.read() as session:
        return dict(session.execute(text("SELECT * FROM accuracy")).mappings().one())


def test_the_view_and_the_command_weigh_each_image_by_what_it_stands_for(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(
        database,
        *(("PNEUMONIA", "PNEUMONIA", 20), ("PNEUMONIA", "NORMAL", 5)),
        *(("NORMAL", "NORMAL", 38), ("NORMAL", "PNEUMONIA", 2)),
        *(("NORMAL", None, 40), ("NORMAL", "UNCLEAR", 1)),
    )
    row = view(database)
    assert (row["source"], row["model_version"]) == ("ward", "v1")
    assert [row[name] for name in ("drawn", "read", "undecided", "unread", "found", "missed")] == [
        106,
        65,
        1,
        40,
        20,
        2,
    ]
    missed = 2 * 50 * 81 / 40  # the 40 that were read stand for all 81
    assert row["recall"] == pytest.approx(400 / (400 + missed))
    assert row["misses_per_1000"] == pytest.approx(1000 * missed / (81 * 50 + 25 * 20))
    accuracy(load(tmp_path), "ward", None, "json")
    (part,) = json.loads(capsys.readouterr().out)["parts"]
    for name in ("recall", "specificity", "misses_per_1000"):
        assert part[name]["value"] == pytest.approx(row[name])
        assert part[name]["low"] < part[name]["value"] < part[name]["high"]
    accuracy(load(tmp_path), None, "2026-05-05", "table")
    assert "No image was drawn yet" in capsys.readouterr().err


def test_the_shares_of_all_are_without_a_source_of_which_nobody_read_the_negatives_and_it_is_named(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(database, ("PNEUMONIA", "PNEUMONIA", 20), ("NORMAL", "NORMAL", 5), ("NORMAL", "PNEUMONIA", 4))
    put(database, ("PNEUMONIA", "PNEUMONIA", 40), ("NORMAL", None, 6), source="surgery")
    accuracy(load(tmp_path), None, None, "json")
    found = json.loads(capsys.readouterr().out)
    surgery, ward = found["parts"]
    assert (surgery["recall"]["value"], ward["recall"]["value"]) == (None, pytest.approx(400 / 600))
    for name in ("recall", "specificity", "misses_per_1000"):
        assert found["total"][name] == ward[name]
    assert found["total"]["left_out"] == [{"source": "surgery", "model_version": "v1"}]
    assert (found["total"]["drawn"], found["total"]["found"]) == (75, 60)
    with database.read() as session:
        recall = dict(session.execute(text("SELECT source, recall FROM accuracy")).all())
    assert recall == {"ward": pytest.approx(400 / 600), "surgery": None}
    accuracy(load(tmp_path), None, None, "table")
    assert "The shares of all are without surgery (v1)" in " ".join(capsys.readouterr().err.split())


def test_samples_whose_prediction_is_gone_are_of_an_unknown_version_in_the_view_and_the_command(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(database, ("PNEUMONIA", "PNEUMONIA", 3), ("NORMAL", "NORMAL", 2), ("NORMAL", "PNEUMONIA", 1))
    with database.write() as session:
        session.execute(text("UPDATE sightings SET prediction_id = NULL"))
        session.execute(text("DELETE FROM screenings"))
        session.execute(text("DELETE FROM predictions"))
    row = view(database)
    assert (row["source"], row["model_version"], row["drawn"]) == ("ward", "unknown", 6)
    accuracy(load(tmp_path), None, None, "json")
    (part,) = json.loads(capsys.readouterr().out)["parts"]
    assert (part["model_version"], part["drawn"]) == ("unknown", 6)
    assert part["recall"]["value"] == pytest.approx(row["recall"]) == pytest.approx(60 / 110)
    accuracy(load(tmp_path), None, None, "table")
    assert "unknown" in capsys.readouterr().out


def test_of_a_source_counts_what_was_said_by_the_point_that_is_applied(database: Database, tmp_path: Path) -> None:
    def drawn() -> tuple[int, int]:
        with database.read() as session:
            (part,) = query.in_service(session, load(tmp_path), NOW)
        return part.reading.drawn, part.missed

    first, second = (add_point(database, is_applied=False) for _ in range(2))
    put(database, ("PNEUMONIA", "PNEUMONIA", 2), ("NORMAL", "NORMAL", 1))
    put(database, ("PNEUMONIA", "PNEUMONIA", 2), ("NORMAL", "NORMAL", 2), point=first)
    put(database, ("PNEUMONIA", "PNEUMONIA", 2), ("NORMAL", "PNEUMONIA", 3), point=second)
    assert drawn() == (3, 0)
    with database.write() as session:
        operating_points.apply(session, first, "Ada", "fits", after(-2))
        operating_points.apply(session, second, "Ada", "fits better", after(-1))
    assert drawn() == (5, 3)
    with database.write() as session:
        operating_points.rollback(session, "ward", "v1", "Ada", "misses", NOW)
    assert drawn() == (4, 0), "the second point's misses are not the first one's, which has been there longer"
    with database.write() as session:
        operating_points.rollback(session, "ward", "v1", "Ada", "the own one will do", NOW)
    assert drawn() == (3, 0)


def test_the_metrics_have_the_shares_with_their_bounds_and_what_became_of_the_samples(
    database: Database, tmp_path: Path
) -> None:
    put(database, ("PNEUMONIA", "PNEUMONIA", 20), ("NORMAL", "NORMAL", 30), ("NORMAL", "PNEUMONIA", 4))
    put(database, ("NORMAL", None, 3), ("NORMAL", "UNCLEAR", 2))
    put(database, ("PNEUMONIA", "PNEUMONIA", 1), source="surgery")
    figures = AccuracyFigures()
    with database.read() as session:
        (_, ward) = query.in_service(session, load(tmp_path), NOW)
        families = figures.families(session, load(tmp_path), NOW)
    values = {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}
    for name, share in (
        ("recall", ward.recall),
        ("specificity", ward.specificity),
        ("missed_ratio", ward.missed_share),
    ):
        bounds = [values[f"pneumoscreen_audit_{name}", "ward", "v1", bound] for bound in ("low", "estimate", "high")]
        assert bounds == [share.low, share.value, share.high]
    assert values["pneumoscreen_audit_recall", "ward", "v1", "estimate"] == pytest.approx(
        400 / (400 + 4 * 50 * 39 / 34)
    )
    assert values["pneumoscreen_audit_recall_promised", "ward", "v1"] == 0.95
    states = {key[-1]: value for key, value in values.items() if key[:2] == ("pneumoscreen_audit_samples", "ward")}
    assert states == {"read": 54, "undecided": 2, "waiting": 3, "unread": 0}
    assert ("pneumoscreen_audit_recall", "surgery", "v1", "estimate") not in values, "nobody knows it"
    assert values["pneumoscreen_audit_samples", "surgery", "v1", "read"] == 1


def test_nothing_is_said_of_recall_while_no_negative_was_read(database: Database, tmp_path: Path) -> None:
    put(database, ("PNEUMONIA", "PNEUMONIA", 5), ("NORMAL", None, 5))
    assert (view(database)["recall"], view(database)["misses_per_1000"]) == (None, None)
    with database.read() as session:
        (part,) = query.in_service(session, load(tmp_path), NOW)
    assert part.recall.value is None


def told(database: Database, tmp_path: Path, seconds: float = 0.0) -> tuple[list[str], list[str]]:
    with database.read() as session:
        return of_accuracy(query.in_service(session, load(tmp_path), after(seconds)))


def test_status_warns_where_recall_is_below_what_was_promised(database: Database, tmp_path: Path) -> None:
    put(database, ("PNEUMONIA", "PNEUMONIA", 20), ("NORMAL", "NORMAL", 30), ("NORMAL", "PNEUMONIA", 4))
    ((need,), _) = told(database, tmp_path)
    assert need.startswith("the source ward: the recall of v1 is 0.667 (at least 0.")
    assert "below the 0.95 that was promised" in need
    with database.read() as session:
        seen = status(session, load(tmp_path, broker_url="redis://127.0.0.1:1/0"), NOW)
    assert need in seen.needs


def test_what_is_not_proved_yet_can_wait_and_so_can_unread_images(database: Database, tmp_path: Path) -> None:
    put(database, ("PNEUMONIA", "PNEUMONIA", 20), ("NORMAL", "NORMAL", 30), ("NORMAL", None, 3))
    needs, hints = told(database, tmp_path)
    assert needs == []
    assert [hint.split("; it is")[0] for hint in hints] == ["the source ward: a recall of 0.95 is not proved yet"]
    with database.read() as session:
        assert hints[0] in status(session, load(tmp_path, broker_url="redis://127.0.0.1:1/0"), NOW).hints
    _, hints = told(database, tmp_path, 31 * DAY)
    assert "3 audit samples have been waiting for a reader" in hints[1]


def test_who_is_not_read_in_time_is_shown_as_non_response(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(database, ("PNEUMONIA", "PNEUMONIA", 2), ("NORMAL", "NORMAL", 2), ("NORMAL", None, 4))
    accuracy(load(tmp_path, audit_days=0.001), None, None, "table")
    assert "4 were not read within 0.001 days (50% non-response)" in capsys.readouterr().err


def test_with_a_sighting_its_audit_sample_is_deleted(database: Database) -> None:
    put(database, ("NORMAL", "NORMAL", 2))
    with database.write() as session:
        assert retention.delete_sightings(session, [1])[0] == 1
    assert [row["sighting_id"] for row in samples(database)] == [2]
