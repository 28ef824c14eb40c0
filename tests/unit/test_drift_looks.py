"""Looks at drift on real databases: what is compared when, what is said of it, and what a person can do."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from actions import drift as action
from actions.drift import look_at_sources
from producer import drifting
from producer.drifting import DriftWatch
from producer.metrics import Situation
from queries import drift, drift_images
from queries.drift import SourceDrift
from queries.status import Status, status
from shared.base.errors import Removed
from shared.base.lanes import Lane
from shared.base.settings import load
from shared.database import AuditEntry, Database, DriftCheck, DriftReference, OperatingPoint, Prediction
from shared.ledger.register import add_jobs
from shared.ledger.work import Identifiers, Quarantined, Screened
from shared.models import manifest
from shared.models.manifest import Calibration
from shared.statistics.drift import NOVELTY, POSITIVE, QUARANTINED, SCORES, UNFAMILIAR, Sample, describe
from tests.models import go_live, make_linear_version
from tests.unit.conftest import Run
from tests.unit.steps import NOW, claim, drop, file, finish, send_all

CALIBRATION = Calibration(slope=1.5, intercept=0.5)
INTERVAL = timedelta(minutes=15)


class Ward:
    """The source `ward`, whose images come every quarter of an hour and are screened at once."""

    def __init__(self, database: Database, home: Path) -> None:
        self.database, self.home, self.came, self.random = database, home, 0, np.random.default_rng(5)

    @property
    def now(self) -> datetime:
        return NOW + self.came * INTERVAL

    def screen(
        self,
        images: int,
        *,
        ill: float = 0.3,
        novelty: float = 0.9,
        quarantined: int = 0,
        threshold: float = 0.5,
        version: str = "v1",
        patient: str | None = None,
    ) -> None:
        """So many images, a hundred at a time, the first of each hundred quarantined."""
        for first in range(0, images, 100):
            count = min(100, images - first)
            self.came += count
            numbers = range(self.came - count, self.came)
            drop(self.database, *(file(f"{number}.png", second=number + 1) for number in numbers), now=self.now)
            claimed = claim(self.database, send_all(self.database, now=self.now), now=self.now)
            outcomes: list[Screened | Quarantined] = [
                Quarantined(one, "the file is no picture") for one in claimed[:quarantined]
            ]
            for one in claimed[quarantined:]:
                score = float(self.random.gamma(40.0, novelty / 40))
                logit = float(self.random.normal(3.0 if self.random.random() < ill else -3.0, 1.5))
                probability = CALIBRATION.probability(logit)
                outcomes.append(
                    Screened(
                        one,
                        f"{one.sighting:064x}",
                        version,
                        probability,
                        threshold,
                        "PNEUMONIA" if probability >= threshold else "NORMAL",
                        outside_population=False,
                        identifiers=Identifiers(patient_key=patient) if patient else None,
                        unfamiliar=score > 1.6,
                        unfamiliar_score=score,
                        logit=logit,
                    )
                )
            finish(self.database, *outcomes, now=self.now)

    def look(self, *, is_asked: bool = False) -> int:
        return look_at_sources(self.database, self.home / "models", self.now, is_asked=is_asked)

    def seen(self) -> SourceDrift:
        with self.database.read() as session:
            (found,) = drift.overview(session)
        return found

    def status(self, days: float = 0.0) -> Status:
        with self.database.read() as session:
            settings = load(self.home, broker_url="redis://127.0.0.1:1/0")
            return status(session, settings, self.now + timedelta(days=days))

    def alarms(self) -> list[str]:
        look = self.seen().look
        assert look is not None
        return list(look.alarms)


@pytest.fixture
def ward(database: Database, tmp_path: Path) -> Ward:
    go_live(database, make_linear_version(tmp_path / "models", "v1"), NOW)
    return Ward(database, tmp_path)


def checks(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(DriftCheck)) or 0


def test_looks_begin_with_two_hundred_images_and_go_on_with_each_hundred(ward: Ward) -> None:
    ward.screen(150)
    assert ward.look() == 0
    assert ward.seen().images == 150
    ward.screen(50)
    assert ward.look() == 1
    assert ward.look() == 0, "nothing has come since"
    ward.screen(250)
    assert ward.look() == 2
    look = ward.seen().look
    assert look is not None
    assert (look.reference_images, look.images) == (200, 200)
    assert look.alarms == {}
    assert look.until == NOW + 400 * INTERVAL
    assert not ward.seen().is_reference_complete


def test_a_week_later_and_when_somebody_asks_there_is_a_look_at_few_images_too(ward: Ward) -> None:
    ward.screen(200)
    ward.look()
    ward.screen(3)
    assert ward.look() == 0
    assert ward.look(is_asked=True) == 1
    assert ward.look(is_asked=True) == 0
    ward.screen(1)
    with ward.database.write() as session:
        for check in session.scalars(select(DriftCheck)):
            check.created_at = ward.now - timedelta(days=8)
    assert ward.look() == 1


def test_a_thousand_images_become_the_reference_and_outlive_their_rows(ward: Ward) -> None:
    ward.screen(1350)
    ward.look()
    assert ward.seen().is_reference_complete
    with ward.database.write() as session:
        reference = session.scalars(select(DriftReference)).one()
        assert (reference.images, reference.since, reference.until) == (
            1000,
            NOW + 100 * INTERVAL,
            NOW + 1000 * INTERVAL,
        )
    ward.screen(350)
    assert ward.look() == 4
    look = ward.seen().look
    assert look is not None
    assert (look.reference_images, look.images, look.until) == (1000, 300, NOW + 1700 * INTERVAL)
    assert look.alarms == {}


def test_each_change_is_found_within_three_hundred_images_and_named(ward: Ward) -> None:
    ward.screen(400)
    ward.look()
    assert ward.alarms() == []
    ward.screen(300, novelty=1.4)
    ward.look()
    assert set(ward.alarms()) == {NOVELTY, UNFAMILIAR}
    with ward.database.read() as session:
        (need,) = drift.needs(session)
    assert "the source ward has changed" in need
    assert "are unfamiliar instead of" in need
    assert need in ward.status().needs


def test_more_positives_and_more_quarantined_images_are_found(ward: Ward) -> None:
    ward.screen(400)
    ward.screen(300, ill=0.9, quarantined=15)
    ward.look()
    assert set(ward.alarms()) == {SCORES, POSITIVE, QUARANTINED}


def test_another_operating_point_is_no_drift(ward: Ward) -> None:
    """Both samples are counted by the newest line, not by what the results said on their day."""
    ward.screen(400)
    ward.look()
    ward.screen(300, threshold=0.9999)
    ward.look()
    assert ward.alarms() == []
    look = ward.seen().look
    assert look is not None
    cut = (np.log(0.9999 / 0.0001) - CALIBRATION.intercept) / CALIBRATION.slope
    with ward.database.read() as session:
        images = drift_images.first(session, "ward", "v1", 0, 1000)
    assert look.shares[POSITIVE].hits == sum(image.logit is not None and image.logit >= cut for image in images[400:])
    assert look.shares[POSITIVE].reference_hits == sum(
        image.logit is not None and image.logit >= cut for image in images[:400]
    )


def test_images_of_one_patient_count_once_unless_everybody_is_that_patient(ward: Ward) -> None:
    ward.screen(180)
    ward.screen(20, patient="a" * 64)
    with ward.database.read() as session:
        images = drift_images.first(session, "ward", "v1", 0, 1000)
    assert len(images) == 200
    assert len(drift_images.sample(images).logits) == 181
    ward.screen(50, patient="a" * 64)
    with ward.database.read() as session:
        images = drift_images.first(session, "ward", "v1", 0, 1000)
    assert len(drift_images.sample(images).logits) == 250


def test_a_version_that_goes_live_begins_anew(ward: Ward, tmp_path: Path) -> None:
    ward.screen(200)
    ward.look()
    go_live(ward.database, make_linear_version(tmp_path / "models", "v2"), ward.now + INTERVAL / 2)
    ward.screen(100, version="v2", novelty=2.0)
    assert ward.look() == 0
    assert (ward.seen().version, ward.seen().look, ward.seen().images) == ("v2", None, 100)


def come_back(ward: Ward, between: int, quarantined: int = 0) -> None:
    """Version v2 is live for so many images, then v1 again."""
    go_live(ward.database, make_linear_version(ward.home / "models", "v2"), ward.now + INTERVAL / 2)
    ward.screen(between, version="v2", quarantined=quarantined)
    go_live(ward.database, ward.home / "models" / "v1", ward.now + INTERVAL / 2)


def test_quarantined_images_of_another_versions_time_count_nowhere(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no version: beside a few images of the one that comes back they would be many."""
    monkeypatch.setattr(action, "REFERENCE", 200)
    monkeypatch.setattr(action, "WINDOW", 100)
    ward.screen(300, quarantined=2)
    ward.look()
    assert ward.seen().is_reference_complete
    before = ward.seen().reference_since
    come_back(ward, 300, quarantined=2)
    assert (ward.seen().look, ward.seen().images) == (None, 0), "what was seen the last time is no news"
    ward.screen(100, quarantined=2)
    assert ward.look() == 0
    ward.screen(100, quarantined=2)
    assert ward.look() == 1
    look = ward.seen().look
    assert look is not None
    share = look.shares[QUARANTINED]
    assert (share.hits, share.images, share.reference_hits, share.reference_images) == (2, 100, 4, 200)
    assert ward.seen().reference_since == before, "it is compared with what it was compared with"


def test_a_version_that_comes_back_before_its_reference_is_complete_begins_a_new_one_and_is_looked_at(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_images, "MAX_SCANNED", 300)
    ward.screen(100, quarantined=2)
    ward.look()
    come_back(ward, 300, quarantined=2)
    ward.screen(200, quarantined=2)
    assert ward.look() == 1
    look = ward.seen().look
    assert look is not None
    assert (look.images, look.reference_images) == (100, 100)
    assert look.shares[QUARANTINED].reference_hits == 2


def test_that_a_change_is_well_may_be_said_before_an_image_came_to_the_version_that_is_back(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(action, "REFERENCE", 100)
    monkeypatch.setattr(action, "WINDOW", 100)
    ward.screen(200)
    ward.look()
    come_back(ward, 100)
    ward.look()
    assert ward.seen().is_reference_complete
    action.begin_anew(ward.database, "ward", "Dr. Okafor", "a new detector", ward.now + INTERVAL)
    assert (ward.seen().is_reference_complete, ward.seen().reason) == (False, "a new detector")
    come = ward.came
    ward.screen(200, novelty=1.4)
    ward.look()
    assert ward.alarms() == []
    assert (ward.seen().reference_since or NOW) > NOW + come * INTERVAL


def test_a_rescreen_by_another_version_changes_nothing(ward: Ward) -> None:
    ward.screen(100, quarantined=2)
    with ward.database.read() as session:
        before = drift_images.first(session, "ward", "v1", 0, 1000)
    assert len(before) == 100
    done = [image.sighting for image in before if not image.is_quarantined]
    with ward.database.write() as session:
        add_jobs(session, done, "background", ward.now, model_version="v2")
    again = claim(ward.database, send_all(ward.database, Lane.BACKGROUND, now=ward.now), now=ward.now)
    finish(
        ward.database,
        *(Screened(one, f"{one.sighting:064x}", "v2", 0.9, 0.5, "PNEUMONIA", logit=9.0) for one in again),
        now=ward.now,
    )
    with ward.database.read() as session:
        assert len(drift_images.first(session, "ward", "v2", 0, 1000)) == 100
        assert drift_images.first(session, "ward", "v1", 0, 1000) == before
        assert drift_images.newest(session, "ward", "v1", 0, 1000) == before


def test_results_without_a_raw_score_are_left_out_and_counted(ward: Ward, run_command: Run) -> None:
    ward.screen(200)
    with ward.database.write() as session:
        for prediction in session.scalars(select(Prediction).where(Prediction.id.between(91, 103))):
            prediction.logit = None
    code, printed, _ = run_command("drift", "--home", ward.home)
    assert code == 0
    told = "ward: 3 of the 100 images, and 10 of the 100 that they are compared with, have no raw score"
    assert told in " ".join(printed.split())
    _, printed, _ = run_command("drift", "--home", ward.home, "--format", "json")
    look = json.loads(printed)["sources"][0]["look"]
    assert (look["without_logit"], look["reference_without_logit"]) == (3, 10)
    assert look["shares"][POSITIVE]["images"] == 97


def test_a_complete_reference_keeps_how_many_had_no_raw_score(ward: Ward) -> None:
    ward.screen(20)
    with ward.database.write() as session:
        for prediction in session.scalars(select(Prediction).where(Prediction.id <= 5)):
            prediction.logit = None
    with ward.database.read() as session:
        sample = drift_images.sample(drift_images.first(session, "ward", "v1", 0, 1000))
    assert Sample.from_json(sample.as_json()).without_logit == 5


def test_a_source_that_nobody_looks_at_for_more_than_a_week_is_told_of(ward: Ward) -> None:
    def overdue(days: float) -> list[str]:
        with ward.database.read() as session:
            return list(drift.overdue(session, ward.now + timedelta(days=days)))

    ward.screen(199)
    assert overdue(30) == [], "looks begin with the two hundredth image"
    ward.screen(1)
    assert overdue(7) == []
    assert "nobody has looked since 2026-05-04 12:00 (UTC) whether the source ward has changed" in overdue(9)[0]
    assert overdue(9)[0] in ward.status(9).hints
    ward.look()
    assert overdue(30) == [], "no image came since"
    drop(ward.database, file("late.png", second=999), now=ward.now)
    (late,) = claim(ward.database, send_all(ward.database, now=ward.now), now=ward.now)
    finish(ward.database, Quarantined(late, Removed.REASON), now=ward.now)
    assert overdue(30) == [], "that one is gone"
    ward.screen(1)
    assert overdue(7) == []
    assert len(overdue(9)) == 1


def test_what_waits_is_not_looked_through_and_what_was_removed_does_not_count(ward: Ward) -> None:
    ward.screen(200)
    drop(ward.database, *(f"late-{number}.png" for number in range(50)), now=ward.now)
    claimed = claim(ward.database, send_all(ward.database, now=ward.now), now=ward.now)
    finish(ward.database, *(Quarantined(one, Removed.REASON) for one in claimed[:20]))
    with ward.database.read() as session:
        assert drift_images.count_after(session, "ward", 0, 1000) == 220
        assert len(drift_images.first(session, "ward", "v1", 0, 1000)) == 200


def test_a_person_says_that_a_change_is_well_and_the_reference_begins_anew(ward: Ward, run_command: Run) -> None:
    ward.screen(400)
    ward.screen(300, novelty=1.4)
    code, printed, _ = run_command("drift", "--home", ward.home)
    assert code == 1
    assert "the source ward has changed" in printed
    code, _, error = run_command("drift", "--home", ward.home, "--accept", "--source", "ward")
    assert code == 2
    assert "--by NAME" in error
    accept = ("--accept", "--source", "ward", "--by", "Dr. Okafor", "--reason", "a new detector")
    assert run_command("drift", "--home", ward.home, *accept)[0] == 0
    code, printed, _ = run_command("drift", "--home", ward.home)
    assert code == 0
    assert "0 of 200 images have come" in printed
    assert "a new detector" in printed
    with ward.database.read() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "accept drift")).one()
    assert entry.actor == "Dr. Okafor"
    ward.screen(300, novelty=1.4)
    ward.look()
    assert ward.alarms() == []


def test_the_command_prints_json_for_programs(ward: Ward, run_command: Run) -> None:
    ward.screen(400)
    ward.screen(200, novelty=1.4)
    code, printed, _ = run_command("drift", "--home", ward.home, "--format", "json", "--source", "ward")
    assert code == 1
    found = json.loads(printed)
    (one,) = found["sources"]
    assert one["look"]["alarms"].keys() == {NOVELTY, UNFAMILIAR}
    assert one["look"]["shares"]["unfamiliar"]["now"] > one["look"]["shares"]["unfamiliar"]["before"]
    assert len(found["needs"]) == 1
    code, _, error = run_command("drift", "--home", ward.home, "--source", "nowhere")
    assert code == 2
    assert "nowhere" in error


def test_producers_that_look_at_the_same_moment_write_each_look_once(ward: Ward) -> None:
    ward.screen(200)
    assert ward.look() == 1
    ward.screen(200)
    with ward.database.write() as session:
        both = [action._Looking(session, "ward", "v1", None, ward.now, is_asked=False) for _ in range(2)]
        assert [looking.look() for looking in both] == [2, 2], "each found the same to be due"
    assert checks(ward.database) == 3
    with ward.database.read() as session:
        assert len(session.scalars(select(DriftReference)).all()) == 1


def test_scores_unlike_those_of_the_held_out_images_are_a_hint_until_the_source_has_a_point(
    ward: Ward, tmp_path: Path
) -> None:
    version = tmp_path / "models" / "v1"
    described = manifest.read(version)
    held_out = {"validation": {"reference": {"logits": describe(np.random.default_rng(0).normal(6.0, 1.0, 500))}}}
    manifest.write(version, described.model_copy(update={"metrics": held_out}))
    go_live(ward.database, version, NOW)
    ward.screen(200)
    ward.look()
    look = ward.seen().look
    assert look is not None
    assert look.version_psi is not None
    assert look.version_psi > 1
    with ward.database.read() as session:
        assert list(drift.needs(session)) == []
        (hint,) = drift.hints(session)
    assert "unlike those of the images on which v1 was measured" in hint
    assert hint in ward.status().hints
    point = OperatingPoint(
        source="ward",
        model_version="v1",
        slope=1.0,
        intercept=0.0,
        threshold=0.5,
        method="intercept",
        recall_goal=0.95,
        recall_low=0.95,
        words=90,
        positives=60,
        is_provisional=False,
        figures="{}",
        created_by="x",
        created_at=NOW,
        applied_by="x",
        applied_at=NOW,
    )
    with ward.database.write() as session:
        session.add(point)
    with ward.database.read() as session:
        assert list(drift.hints(session)) == []


def test_a_producer_looks_once_a_minute(ward: Ward) -> None:
    ward.screen(200)
    watch = DriftWatch(ward.database, ward.home / "models")
    watch.look(0.0)
    ward.screen(100)
    watch.look(drifting.LOOK_EVERY - 1)
    assert checks(ward.database) == 1
    watch.look(drifting.LOOK_EVERY + 1)
    assert checks(ward.database) == 2


def test_the_metric_says_which_kind_of_a_source_has_changed(ward: Ward, tmp_path: Path) -> None:
    ward.screen(400)
    ward.screen(300, novelty=1.4)
    ward.look()
    situation = Situation(load(tmp_path, broker_url="redis://127.0.0.1:1/0"))
    values = {(s.name, *s.labels.values()): s.value for metric in situation.collect() for s in metric.samples}
    assert values["pneumoscreen_source_drift", "ward", "unfamiliar"] == 1
    assert values["pneumoscreen_source_drift", "ward", "novelty"] == 1
    assert values["pneumoscreen_source_drift", "ward", "scores"] == 0
    assert values["pneumoscreen_source_drift_psi", "ward", "novelty"] > 0.25
