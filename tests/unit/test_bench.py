"""What the benchmark makes of its figures."""

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from sqlalchemy import select

from bench import decoding, environments, files, gdcm, growth, mix, producer, profile, radiographs, report, run, startup
from bench.rows import GOALS, ROWS, Row
from shared.base.errors import ServiceUnavailable, WorkFailed, WrongSettings
from shared.base.settings import Settings
from shared.database import Database, Sighting
from shared.imaging import Limits, Preprocessing, prepare
from shared.sources.folder.facts import SECOND, Facts
from tests.plan import short

TOP = Path(__file__).parents[2]
PERFORMANCE = TOP / "docs" / "performance.md"


def speeds(**rounds: list[float]) -> dict[str, list[dict[str, float]]]:
    return {name: [{"images_per_second": speed} for speed in found] for name, found in rounds.items()}


def test_medians_make_the_ratios_and_each_goal_says_whether_it_is_met() -> None:
    found = speeds(limit=[100, 300, 200], system=[192, 150, 196], script=[20, 20, 20])
    measured = report.make(found, {}, {})
    assert measured["ratios"] == {"system_to_limit": 0.96, "system_to_script": 9.6}
    assert measured["spread"]["limit"] == {"lowest": 100, "highest": 300}
    assert [(goal["figure"], goal["met"]) for goal in measured["goals"]] == [(0.96, True), (9.6, False)]


def test_a_row_that_could_not_be_measured_is_named_and_its_goals_are_left_out() -> None:
    measured = report.make(speeds(limit=[100], system=[]), {"system": "no PostgreSQL here"}, {})
    assert measured["missing"] == {"system": "no PostgreSQL here"}
    assert measured["goals"] == []


def test_a_row_that_fails_in_a_later_round_has_no_medians_ratios_goals_or_bar() -> None:
    measured = report.make(speeds(limit=[100, 100], system=[95]), {"system": "the disk is full"}, {})
    assert list(measured["figures"]) == ["limit"]
    assert (measured["ratios"], measured["goals"]) == ({}, [])
    assert list(measured["spread"]) == ["limit"]


def test_a_figure_that_one_round_lacks_has_no_median() -> None:
    rounds = [{"images_per_second": 100.0, "ceiling": 5.0}, {"images_per_second": 300.0}]
    for found in (rounds, rounds[::-1]):
        assert report.make({"saturated": found}, {}, {})["figures"] == {"saturated": {"images_per_second": 200.0}}


def test_every_goal_can_be_judged_by_rows_that_exist() -> None:
    figures = {name: dict.fromkeys(NAMES, 1.0) for name in ROWS}
    assert all(isinstance(goal.figure(figures), float) for goal in GOALS)


NAMES = (
    "images_per_second",
    "seconds_median",
    "seconds_99th_percentile",
    "ms_per_image_at_0",
    "ms_per_image_at_1000000",
    "restart_seconds",
    "mb_at_most",
    "ratio",
    "ratio_litert",
    "ratio_tensorflow",
    "ms_more",
    "ms_per_page",
    "words_lost",
    "words_doubled",
    "times_the_other",
    *(f"{command}_cpu_seconds" for command in startup.COMMANDS),
)


def test_a_row_that_fails_costs_no_other_and_still_ends_in_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(row: Row, *_: object) -> dict[str, float]:
        if row is ROWS["system"]:
            raise WorkFailed("the disk is full")
        return {"images_per_second": 300.0}

    monkeypatch.setattr(run, "_measure", measure)
    monkeypatch.setattr(run, "_make_files", lambda *_: {"full": 1})
    with pytest.raises(WorkFailed, match="Not measured: system"):
        run.bench(None, ["limit", "system"], 100, 1, lambda: "", as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["figures"] == {"limit": {"images_per_second": 300.0}}
    assert printed["missing"] == {"system": "the disk is full"}


def test_without_a_redis_server_only_the_rows_that_need_one_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def server() -> str:
        raise ServiceUnavailable("no Redis server was found")

    done = subprocess.CompletedProcess[str]([], 0, stdout='{"images_per_second": 300.0}\n', stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(run, "_make_files", lambda *_: {"full": 1})
    with pytest.raises(WorkFailed, match="Not measured: postgresql"):
        run.bench(None, ["postgresql", "script"], 100, 2, server, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["figures"] == {"script": {"images_per_second": 300.0}}
    assert printed["missing"] == {"postgresql": "no Redis server was found"}


def test_before_each_start_of_the_producer_its_files_have_settled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slept: list[float] = []
    slept_before_start: list[float] = []

    def start(*_: object, **__: object) -> None:
        slept_before_start.append(sum(slept))
        slept.clear()

    monkeypatch.setattr(producer.time, "sleep", slept.append)
    monkeypatch.setattr(producer.psutil, "Popen", start)
    monkeypatch.setattr(producer, "RedisServer", lambda _: SimpleNamespace(url="", close=lambda: None))
    monkeypatch.setattr(producer, "_wait_for", lambda *_: (0.0, 0.0))
    monkeypatch.setattr(producer, "end", lambda _: None)
    producer.measure(tmp_path, tmp_path / "work", "", names=1)
    first, second = slept_before_start
    assert first == second > Settings.model_fields["settle"].default


@pytest.mark.parametrize("row", ["ray", "litserve"])
def test_the_page_says_where_the_interpreter_of_a_framework_lies(monkeypatch: pytest.MonkeyPatch, row: str) -> None:
    packages = ROWS[row].environment
    assert packages is not None
    monkeypatch.setattr(environments, "_make", lambda *_: None)
    found = environments.python(packages)
    name = found.parent.parent.name.split("-")[0]
    assert f"/{name}-*/bin/python`" in PERFORMANCE.read_text()


def test_earlier_rows_are_such_as_the_producer_and_the_worker_write(database: Database) -> None:
    growth.fill(database.engine.url.render_as_string(hide_password=False), 3)
    with database.read() as session:
        sightings = session.scalars(select(Sighting).order_by(Sighting.id.desc())).all()
    assert [(s.path, s.lane, s.state) for s in sightings] == [(f"ward/{n}.jpeg", "routine", "done") for n in range(3)]
    assert [s.revision for s in sightings] == [Facts(400_000, n * SECOND, 1).revision for n in range(3)]


@pytest.mark.parametrize("stage", profile.STAGES)
def test_the_functions_by_which_the_profile_knows_a_stage_exist(stage: str) -> None:
    for function in profile.STAGES[stage]:
        name, file = function.split(" (")
        assert f"def {name}(" in (TOP / file).read_text(), function


def test_an_unknown_row_is_refused_before_anything_is_made() -> None:
    with pytest.raises(WrongSettings, match="not speed"):
        run.bench(None, ["speed"], 100, 1, lambda: "", as_json=True)


def test_files_have_distinct_bytes_and_the_same_picture(tmp_path: Path) -> None:
    sources = files.sources(None)
    files.make(sources[:1], tmp_path / "files", 3, lambda: None)
    made = [path.read_bytes() for path in sorted((tmp_path / "files").iterdir())]
    assert len(set(made)) == 3
    pictures = [Image.open(BytesIO(data)) for data in made]
    assert {max(picture.size) for picture in pictures} == {files.FULL_SIZE}
    assert len({picture.tobytes() for picture in pictures}) == 1


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match="--images"):
        files.sources(tmp_path)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two small radiographs of each kind, and the mix."""
    monkeypatch.setattr(radiographs, "SIZE", (250, 300))
    for kind in (*radiographs.KINDS, radiographs.MIX):
        radiographs.make(kind, tmp_path, 10, lambda: None)
    return tmp_path


def test_radiographs_of_every_kind_show_the_same_and_no_two_files_are_alike(made: Path) -> None:
    preprocessing = Preprocessing(width=100, height=100)
    pictures = {
        kind: [
            prepare(path.read_bytes(), preprocessing, Limits()).astype(int) for path in sorted((made / kind).iterdir())
        ]
        for kind in radiographs.KINDS
    }
    for first, second in pictures.values():
        assert abs(first - pictures["uncompressed"][0]).mean() < 8  # a window or none
        assert abs(first - second).mean() > 8
    assert sum(1 for _ in (made / radiographs.MIX).iterdir()) == 2 * len(radiographs.SYNTAXES)
    contents = {path.read_bytes() for path in made.glob("*/*")}
    assert len(contents) == 2 * len(radiographs.KINDS)


def test_the_rows_of_decoding_name_files_that_are_made() -> None:
    kinds = {"full", "small", *radiographs.KINDS, radiographs.MIX}
    assert {row.files for row in ROWS.values()} == kinds


@pytest.mark.parametrize("against", [None, sys.executable])
@pytest.mark.parametrize("kind", short(["jpeg_2000"], radiographs.KINDS))
def test_decoding_is_compared_with_a_plain_reader_or_with_another_checkout(
    made: Path, kind: str, against: str | None
) -> None:
    figures = decoding.measure(made / kind, made / "work", against)
    assert figures["ratio"] == pytest.approx(figures["ms_per_image"] / figures["ms_per_image_of_the_other"])


def test_gdcm_is_measured_here_and_in_another_process(made: Path) -> None:
    assert set(gdcm.measure(made / "jpeg_ls", made / "work")) == {"ms_in_this_process", "ms_in_another", "ms_more"}


def test_the_whole_system_is_compared_with_another_checkout_by_its_own_benchmark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\n[ $1 $2 $3 = -mbench.measuresystem ]\necho '{\"images_per_second\": 4.0}'\n")
    other.chmod(0o755)
    monkeypatch.setattr(mix.system, "measure", lambda *_: {"images_per_second": 20.0})
    assert mix.measure(tmp_path, tmp_path) == {"images_per_second": 20.0}
    assert mix.measure(tmp_path, tmp_path, str(other))["times_the_other"] == 5.0


def test_only_rows_that_are_compared_get_the_other_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, str] = {}

    def start(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        given[command[3]] = command[-1]
        return subprocess.CompletedProcess(command, 0, stdout="{}\n", stderr="")

    monkeypatch.setattr(subprocess, "run", start)
    for name in ("limit", "jpeg_ls", "dicom"):
        run._measure(ROWS[name], tmp_path, lambda: "", Path("/other/python"))
    assert given == {"limit": "{}", "decoding": '{"against": "/other/python"}', "mix": '{"against": "/other/python"}'}
