"""A source's operating point from its fit to its end: who applies it, what it changes, and what retires it."""

import json
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from actions import fitting, operating_points
from actions.fitting import Fitted
from actions.promotion import rollback
from queries import operating_points as query
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.settings import Settings
from shared.database import (
    AuditEntry,
    Database,
    ModelVersion,
    OperatingPoint,
    Prediction,
    Review,
    Sighting,
    SightingState,
)
from shared.models import manifest, training_images
from shared.statistics.threshold_table import Row, Share
from tests.models import home_with_versions, promote
from tests.points import add_point, digest, draw_with_words, points, word
from tests.radiographs import labelled
from tests.unit.conftest import Run
from tests.unit.steps import NOW, after, claim, drop, finish, screened, send_all
from trainer import datasets, listing


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    """A home in which `v1` is live, and `v2` is published."""
    settings = home_with_versions(database, tmp_path, "v1", "v2")
    promote(database, "v1", "Ada", NOW, "the first")
    return settings


def spread(ill: int, healthy: int) -> tuple[list[float], list[str | None]]:
    """Logits of a version that is about right, and words."""
    generator = np.random.default_rng(5)
    logits = [*(1.5 + generator.normal(size=ill)), *(-1.5 + generator.normal(size=healthy))]
    return logits, ["PNEUMONIA"] * ill + ["NORMAL"] * healthy


def fit(database: Database, chosen: Settings, draw: int, goal: float = 0.95, version: str = "v1") -> Fitted:
    described = manifest.read(chosen.models / version)
    with database.write() as session:
        found = query.find_draw(session, "ward", draw, version)
        known = training_images.read(chosen.models / version, described)
        sample = fitting.sample_of_draw(session, found, version, known)
        return fitting.fit(session, "ward", described, sample, goal, "Ada", after(1))


def apply(database: Database, number: int, *, provisional: bool = False, reason: str | None = "reviewed") -> None:
    with database.write() as session:
        operating_points.apply(session, number, "Ada", reason, after(2), provisional=provisional)


def actions(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        entries = session.scalars(
            select(AuditEntry).where(AuditEntry.action.like("calibrate%")).order_by(AuditEntry.id)
        )
        return [(entry.actor, entry.action) for entry in entries]


def test_a_fit_stores_a_point_with_its_figures_and_applies_nothing(database: Database, chosen: Settings) -> None:
    draw = draw_with_words(database, *spread(70, 60))
    fitted = fit(database, chosen, draw)
    with database.read() as session:
        point = session.get_one(OperatingPoint, fitted.number)
    assert (point.source, point.model_version, point.draw_id, point.words, point.positives) == (
        "ward",
        "v1",
        draw,
        130,
        70,
    )
    assert not point.is_provisional
    assert point.recall_low >= 0.95
    assert (point.created_by, point.applied_at) == ("Ada", None)
    figures = json.loads(point.figures)
    assert figures["counts"] == {
        **{"drawn": 130, "unread": 0, "undecided": 0, "without_logit": 0},
        **{"fitted_to": None, "without_patient": 130},
    }
    assert {"chosen", "the version's own"} <= {row["name"] for row in figures["rows"]}
    assert points(database) == {fitted.number: "fitted"}
    assert actions(database) == [("Ada", "calibrate fit")]


def test_words_that_do_not_count_and_rows_without_a_logit_are_left_out_and_counted(
    database: Database, chosen: Settings
) -> None:
    logits, labels = spread(30, 30)
    labels[0] = None
    draw = draw_with_words(database, [math.nan, *logits][1:], labels)
    with database.write() as session:
        session.add(word(digest(2), "UNCLEAR", draw))  # the same reader, later
        batch = word(digest(1), "PNEUMONIA", draw)
        batch.method = "batch"
        sighted = word(digest(1), "PNEUMONIA", draw, "Dr. Moe")
        sighted.is_blind = False
        old = Review(sha256=digest(1), label="PNEUMONIA", reviewer="Dr. Past", created_at=NOW)
        session.add_all([batch, sighted, old])
        for found in session.scalars(select(Prediction).where(Prediction.sha256.in_([digest(3), digest(4)]))):
            found.logit = None
    fitted = fit(database, chosen, draw)
    counts = fitted.sample.counts
    assert (counts.drawn, counts.unread, counts.undecided, counts.without_logit) == (60, 1, 1, 2)
    assert len(fitted.sample.readings) == 56
    assert fitted.sample.readings.weights.tolist() == pytest.approx([60 / 56 / 0.5] * 56)


def test_a_provisional_point_is_applied_only_when_asked_for_as_such(database: Database, chosen: Settings) -> None:
    fitted = fit(database, chosen, draw_with_words(database, *spread(20, 20)))
    assert fitted.choice.is_provisional
    assert fitted.choice.missing == 39
    with pytest.raises(InvalidRequest, match="is provisional"):
        apply(database, fitted.number)
    assert points(database) == {fitted.number: "fitted"}
    apply(database, fitted.number, provisional=True)
    assert points(database) == {fitted.number: "applied"}


def test_whoever_applies_a_point_says_who_and_why(database: Database, chosen: Settings) -> None:
    number = add_point(database, is_applied=False)
    with pytest.raises(InvalidRequest, match="--reason"):
        apply(database, number, reason=" ")
    with database.write() as session, pytest.raises(InvalidRequest, match="--by"):
        operating_points.apply(session, number, None, "reviewed", NOW)
    with pytest.raises(InvalidRequest, match="no operating point 99"):
        apply(database, 99)
    apply(database, number)
    with pytest.raises(WorkFailed, match="applied already"):
        apply(database, number)
    with database.read() as session:
        point = session.get_one(OperatingPoint, number)
        assert (point.applied_by, point.applied_at, point.reason) == ("Ada", after(2), "reviewed")


def test_a_new_point_takes_the_place_of_the_old_one_and_a_rollback_goes_back_step_by_step(
    database: Database, chosen: Settings
) -> None:
    first, second, third = (add_point(database, is_applied=False) for _ in range(3))
    for number in (first, second, third):
        apply(database, number)
    assert points(database) == {
        first: f"replaced by {second}",
        second: f"replaced by {third}",
        third: "applied",
    }

    def back() -> tuple[int | None, int | None]:
        with database.write() as session:
            done = operating_points.rollback(session, "ward", "v1", "Ada", "too many", after(3))
            return done.retired, done.applied

    assert [back(), back(), back()] == [(third, second), (second, first), (first, None)]
    assert set(points(database).values()) == {"rolled back: too many"}
    with pytest.raises(WorkFailed, match="No operating point is applied"):
        back()
    with pytest.raises(WorkFailed, match="was retired"):
        apply(database, first)
    assert actions(database)[-1] == ("Ada", "calibrate rollback")


def test_a_promotion_retires_the_points_of_the_version_before_and_status_asks_for_new_ones(
    database: Database, chosen: Settings
) -> None:
    mine, other = add_point(database), add_point(database, "icu")
    with database.write() as session:
        assert operating_points.retire_for(session, "v1", "Ada", after(5)) == ["icu", "ward"]
        assert operating_points.retire_for(session, "v1", "Ada", after(5)) == []
        icu, ward = query.needs(session, "v2")
    assert f"point {mine}" in ward
    assert "calibrate fit --source ward --rescore" in ward
    assert f"point {other}" in icu
    add_point(database, "icu", "v2")
    with database.write() as session:
        assert [need.split()[2] for need in query.needs(session, "v2")] == ["ward"]
        done = operating_points.rollback(session, "ward", "v2", "Ada", "its own will do", after(6))
        assert (done.retired, done.applied) == (None, None)
        assert list(query.needs(session, "v2")) == []


def test_a_version_that_comes_back_brings_its_points_back(database: Database, chosen: Settings) -> None:
    number = add_point(database)
    with database.write() as session:
        operating_points.retire_for(session, "v1", "Ada", after(5))
        assert operating_points.restore_for(session, "v1", "Ada", after(6)) == ["ward"]
    assert points(database) == {number: "applied"}


def test_promoting_and_rolling_back_a_version_retires_and_restores_points_and_the_command_names_the_sources(
    database: Database, chosen: Settings, run_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    number = add_point(database)
    words = ("models", "promote", "v2", "--by", "Ada", "--reason", "a trial", "--home", tmp_path)
    code, printed, told = run_command(*words)
    assert code == 0
    assert "lost their operating point, and are read by the version's own threshold: ward." in told
    assert "calibrate fit --rescore" in printed
    assert points(database)[number].startswith("promotion")
    again = ("models", "rollback", "--by", "Ada", "--reason", "a mistake", "--home", tmp_path)
    assert run_command(*again)[0] == 0
    assert points(database) == {number: "applied"}


def test_what_a_version_was_fitted_to_proves_nothing_of_it(database: Database, chosen: Settings) -> None:
    """Words on a draw may train: a version finds again what it has learnt."""
    draw = draw_with_words(database, *spread(70, 60))
    learn(chosen, "v1", [digest(number) for number in range(1, 51)])
    fitted = fit(database, chosen, draw)
    assert (fitted.sample.counts.fitted_to, len(fitted.sample.readings)) == (50, 80)
    assert fitted.choice.is_provisional, "20 positives are left"
    learn(chosen, "v1", [digest(number) for number in range(1, 131)])
    with pytest.raises(WorkFailed, match="fitted to all 130 images of draw 1"):
        fit(database, chosen, draw)


def learn(chosen: Settings, version: str, contents: Iterable[str]) -> None:
    """Write into a version's folder what it was fitted to."""
    folder = chosen.models / version
    described = manifest.read(folder)
    training_images.write(contents)(folder, described)
    files = described.files | {training_images.FILE: manifest.sha256((folder / training_images.FILE).read_bytes())}
    manifest.write(folder, described.model_copy(update={"files": files}))


def test_a_point_of_a_version_that_is_not_live_is_not_applied(database: Database, chosen: Settings) -> None:
    """Somebody promoted after the fit: it would read nothing, and months later everything."""
    number = add_point(database, is_applied=False)
    promote(database, "v2", "Ada", after(1), "better")
    with pytest.raises(WorkFailed, match="one of v1, and v2 is live"):
        apply(database, number)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite has one writer at any time
def test_a_point_and_a_promotion_at_the_same_moment_take_turns(database: Database, chosen: Settings) -> None:
    number = add_point(database, is_applied=False)
    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            operating_points.apply(session, number, "Ada", "reviewed", after(1))
            promoted = pool.submit(promote, database, "v2", "Eve", after(2), "better")
            assert not wait([promoted], 0.5).done, "it waits"
        promoted.result()
    assert points(database)[number].startswith("promotion")


def test_what_was_only_tried_out_is_no_goal_of_a_later_fit(database: Database, chosen: Settings) -> None:
    draw = draw_with_words(database, *spread(70, 60))
    apply(database, fit(database, chosen, draw).number)
    fit(database, chosen, draw, goal=0.8)
    with database.read() as session:
        newest = query.newest_applied(session, "ward")
        assert newest is not None
        assert (newest.recall_goal, newest.draw_id) == (0.95, draw)


def test_a_draw_that_nobody_has_read_hides_none_that_was_read(database: Database, chosen: Settings) -> None:
    read = draw_with_words(database, *spread(2, 2))
    unread = draw_with_words(database, [0.1, 0.2], [None, None], first=10)
    with database.read() as session:
        assert query.find_draw(session, "ward", None, "v1").id == read
        assert query.find_draw(session, "ward", unread, "v1").id == unread


def test_rescreens_are_no_traffic_of_a_source(database: Database, chosen: Settings) -> None:
    ids = drop(database, *(f"{number}.png" for number in range(40)))
    with database.write() as session:
        long_ago = NOW - timedelta(days=300)
        for number in ids:
            row = session.get_one(Sighting, number)
            row.state, row.finished_at = SightingState.DONE, after(60)
            row.seen_at = long_ago if number <= 20 else NOW - timedelta(days=2)
    with database.read() as session:
        assert query.images_a_day(session, "ward", NOW) == 10
        assert query.images_a_day(session, "icu", NOW) is None


def test_a_point_that_was_given_up_for_a_version_comes_back_when_that_version_is_rolled_back(
    database: Database, chosen: Settings
) -> None:
    number = add_point(database)
    promote(database, "v2", "Ada", after(1), "better")
    with database.write() as session:
        reason = "promotion of v2: its own will do"
        assert operating_points.rollback(session, "ward", "v2", "Ada", reason, after(2)).applied is None
        assert list(query.needs(session, "v2")) == []
    rollback(database, "Ada", after(3), "a mistake")
    assert points(database) == {number: "applied"}


def test_a_new_version_is_fitted_to_the_words_of_a_draw_of_the_old_one(database: Database, chosen: Settings) -> None:
    logits, labels = spread(30, 30)
    draw = draw_with_words(database, logits, labels)
    with pytest.raises(WorkFailed, match="v2 has scored none"):
        fit(database, chosen, draw, version="v2")
    with database.write() as session:
        session.add_all(
            Prediction(sha256=digest(number), model_version="v2", decoder_revision=1, logit=3 * logit, created_at=NOW)
            for number, logit in enumerate(logits[:-1], start=1)
        )
    fitted = fit(database, chosen, draw, version="v2")
    assert (fitted.version, fitted.sample.counts.without_logit) == ("v2", 1)
    assert fitted.sample.readings.logits.tolist() == pytest.approx([3 * logit for logit in logits[:-1]])


def test_the_commands_fit_apply_list_and_roll_back(
    database: Database, chosen: Settings, run_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    (tmp_path / "pneumoscreen.toml").write_text(f'[sources.ward]\npath = "{tmp_path / "ward"}"\n')

    def run(*words: object) -> tuple[int, str, str]:
        return run_command("calibrate", *words, "--home", tmp_path)

    code, _, problem = run("fit", "--source", "ward")
    assert (code, "has no draw" in problem) == (1, True)
    code, _, problem = run("fit", "--source", "nowhere")
    assert (code, "no source named 'nowhere'" in problem) == (2, True)
    draw_with_words(database, *spread(20, 25))
    code, printed, _ = run("fit", "--source", "ward", "--by", "Ada", "--pictures", tmp_path / "pictures")
    assert code == 0
    for sentence in (
        "PROVISIONAL",
        "whose 45 of these images are",
        "about 39 more are needed",
        "45 words on draw 1, 20 of them PNEUMONIA",
    ):
        assert sentence in printed
    assert (tmp_path / "pictures" / "reliability.png").read_bytes().startswith(b"\x89PNG")
    code, printed, _ = run("fit", "--source", "ward", "--recall", "0.7", "--format", "json")
    found: dict[str, Any] = json.loads(printed)
    assert (code, found["is_provisional"], found["words"]) == (0, False, 45)
    assert found["thresholds"][0]["recall"]["low"] <= found["thresholds"][0]["recall"]["value"]
    number = found["operating_point"]
    assert run("apply", number, "--by", "Ada")[0] == 2
    assert run("apply", 1, "--by", "Ada", "--reason", "why not")[0] == 2, "it is provisional"
    code, printed, _ = run("apply", number, "--by", "Ada", "--reason", "reviewed draw 1")
    assert (code, "No result changes" in printed) == (0, True)
    listed = json.loads(run("list", "--format", "json")[1])
    assert [(row["number"], row["state"], row["is_provisional"]) for row in listed] == [
        (2, "applied", False),
        (1, "fitted", True),
    ]
    table = run("list", "--source", "ward")[1]
    assert "reviewed draw 1" in table and "provisional" in table and "proved" in table
    code, printed, _ = run("rollback", "--source", "ward", "--by", "Ada", "--reason", "too many alarms")
    assert (code, "threshold of v1 itself" in printed) == (0, True)
    assert "ward has no operating point for v1" in run("list")[1]


@pytest.fixture
def calibrate(
    database: Database, chosen: Settings, run_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Runs `pneumoscreen calibrate` where `ward` is a source and `v1` is live."""
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "pneumoscreen.toml").write_text(f'[sources.ward]\npath = "{tmp_path / "ward"}"\n')
    return lambda *words: run_command("calibrate", *words, "--home", tmp_path)


def test_the_command_fits_to_the_draw_and_for_the_version_that_are_named(database: Database, calibrate: Run) -> None:
    logits, labels = spread(20, 25)
    first = draw_with_words(database, logits, labels)
    newest = draw_with_words(database, *spread(22, 20), first=100)
    assert f"42 words on draw {newest}, 22 of them PNEUMONIA" in calibrate("fit", "--source", "ward")[1]
    assert f"45 words on draw {first}, 20 of them" in calibrate("fit", "--source", "ward", "--draw", first)[1]
    code, _, problem = calibrate("fit", "--source", "ward", "--draw", 9)
    assert (code, "The source ward has no draw 9" in problem) == (1, True)
    other = ("fit", "--source", "ward", "--model", "v2", "--draw", first)
    code, _, problem = calibrate(*other)
    assert (code, "v2 has scored none of the images of draw 1: --rescore has it do that" in problem) == (1, True)
    with database.write() as session:
        session.add_all(
            Prediction(sha256=digest(number), model_version="v2", decoder_revision=1, logit=logit, created_at=NOW)
            for number, logit in enumerate(logits[:40], start=1)
        )
    code, printed, _ = calibrate(*other)
    assert (code, "Operating point 3 of ward for v2: " in printed) == (0, True)
    assert "40 words on draw 1" in printed and "left out: 5 without a logit" in printed


def test_the_fit_says_which_recall_the_words_prove(database: Database, calibrate: Run) -> None:
    draw_with_words(database, *spread(45, 25))
    printed = calibrate("fit", "--source", "ward")[1]
    assert "PROVISIONAL: a recall of 0.95 is not proved. 59 independent positives without a miss prove it" in printed
    assert "These words prove a recall of 0.936 at most, at the threshold that misses none of them." in printed
    assert "At the provisional threshold they prove 0.899; 0.95 of the next positives are expected above it." in printed
    assert "calibrate apply 1 --provisional --by NAME --reason TEXT" in printed
    printed = calibrate("fit", "--source", "ward", "--recall", "0.7")[1]
    assert "with 95 % confidence, as wanted (0.7)." in printed
    assert "PROVISIONAL" not in printed
    assert "To use it: pneumoscreen calibrate apply 2 --by NAME --reason TEXT" in printed


def test_the_fit_says_where_the_point_gains_nothing(
    database: Database, calibrate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_with_words(database, *spread(45, 25))
    gained = "By these words the point gains nothing"
    assert gained not in calibrate("fit", "--source", "ward")[1]
    same = Share(0.9, 0.8, 1.0)
    rows = tuple(Row(name, 0.5, same, same, *[None] * 4) for name in (fitting.CHOSEN, fitting.OWN))
    monkeypatch.setattr(fitting.threshold_table, "tabulate", lambda *_: rows)
    assert gained in calibrate("fit", "--source", "ward")[1]


def test_the_table_counts_what_is_flagged_a_day_and_missed_of_1000_images(database: Database, calibrate: Run) -> None:
    draw_with_words(database, *spread(20, 25))
    assert "what is flagged a day is not known" in calibrate("fit", "--source", "ward")[1]
    images = [f"{number}.png" for number in range(20)]
    came = datetime.now(UTC) - timedelta(days=4)
    drop(database, *images, now=came)
    finish(database, *map(screened, claim(database, send_all(database, now=came), now=came)), now=came)
    found = json.loads(calibrate("fit", "--source", "ward", "--format", "json")[1])
    assert found["images_a_day"] == pytest.approx(5, rel=0.01), "20 images in four days"
    for row in found["thresholds"]:
        for end in ("low", "value", "high"):
            assert row["flagged_a_day"][end] == pytest.approx(5 * row["flagged"][end], rel=0.01)
            assert row["missed_per_1000"][end] == pytest.approx(1000 * row["missed"][end])
    assert any(row["missed_per_1000"]["value"] > 10 for row in found["thresholds"])
    printed = calibrate("fit", "--source", "ward")[1]
    assert "flagged a day" in printed and "missed of 1,000 images" in printed
    cells = [[cell.strip() for cell in line.split("│")] for line in printed.splitlines() if "│" in line]
    by_name = {row[2]: row[8:10] for row in cells if len(row) > 9}
    for row in found["thresholds"]:
        figures = (row["flagged_a_day"], row["missed_per_1000"])
        assert by_name[row["name"]] == ["{value:.1f} ({low:.1f} to {high:.1f})".format(**each) for each in figures]


def test_a_labelled_folder_of_the_site_gives_a_point_too(
    database: Database, chosen: Settings, calibrate: Run, tmp_path: Path
) -> None:
    folder = labelled(tmp_path / "data", 6)
    of_folder = ("fit", "--source", "ward", "--data", folder, "--by", "Ada")
    code, printed, _ = calibrate(*of_folder)
    assert code == 0
    assert "It rests on 12 words on the folder, 6 of them PNEUMONIA, of 12 patients; left out: none." in printed
    assert "are for a share of pneumonia of the folder's, which is not the source's." in printed
    of_source = (*of_folder, "--prevalence", "0.02")
    assert "are for a share of pneumonia of 2.0%, as --prevalence says." in calibrate(*of_source)[1]
    own, rare = (json.loads(calibrate(*words, "--format", "json")[1]) for words in (of_folder, of_source))
    assert (own["draw"], own["prevalence"], rare["prevalence"]) == (None, None, 0.02)
    assert own["data_fingerprint"] == rare["data_fingerprint"] == fingerprint(folder)
    of_all = [found["thresholds"][0] for found in (own, rare)]
    assert of_all[0]["recall"]["value"] == of_all[1]["recall"]["value"] == 1
    assert of_all[1]["ppv"]["value"] < 0.1 < of_all[0]["ppv"]["value"]
    with database.read() as session:
        point = session.get_one(OperatingPoint, 1)
        assert (point.draw_id, point.data_fingerprint, point.words) == (None, fingerprint(folder), 12)
    assert [row["draw"] for row in json.loads(calibrate("list", "--format", "json")[1])] == [None] * 4


def fingerprint(folder: Path) -> str:
    files = listing.read(folder).files
    digests = [manifest.sha256(file.path.read_bytes()) for file in files]
    return datasets.fingerprint(digests, [file.label for file in files])


def test_the_images_that_a_version_was_made_from_prove_nothing_of_it(
    database: Database, chosen: Settings, calibrate: Run, tmp_path: Path
) -> None:
    folder = labelled(tmp_path / "data", 6)
    described = manifest.read(chosen.models / "v1").model_copy(update={"data": {"fingerprint": fingerprint(folder)}})
    with database.write() as session:
        session.get_one(ModelVersion, "v1").manifest_sha256 = manifest.write(chosen.models / "v1", described)
    code, _, problem = calibrate("fit", "--source", "ward", "--data", folder)
    assert code == 2
    assert "holds what v1 was made from, which proves nothing of it" in problem
    assert points(database) == {}


def test_a_recall_or_a_format_that_is_none_is_refused(
    database: Database, chosen: Settings, run_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    draw_with_words(database, *spread(20, 25))
    refused: Callable[..., int] = lambda *words: run_command("calibrate", "fit", "--home", tmp_path, *words)[0]  # noqa: E731
    assert refused("--source", "ward", "--recall", "1") == 2
    assert refused("--source", "ward", "--recall", "1.2", "--draw", "9") == 2, "before any draw is looked for"
    assert refused("--source", "ward", "--format", "xml") == 2
    assert refused("--source", "ward", "--prevalence", "0.1") == 2
    assert refused("--source", "ward", "--data", tmp_path, "--draw", "1") == 2
