"""The product with its real network, as a user has it after `make demo`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.models import manifest, registry
from tests import pace
from tests.cases import CASES, FOLDER, REFERENCES, TOLERANCE, needs_cases
from tests.system import SAMPLES, System, environment, running, specimens

DATA = Path(os.environ.get("XRAY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "kermany"
LONG_AGO = 1_700_000_000
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the labelled X-rays are not on this machine")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("acceptance"), flower=True, trainer=True, settings={}) as found:
        yield found


def test_every_specimen_is_labelled_as_what_it_was_generated_from(system: System) -> None:
    for specimen in specimens():
        shutil.copy(specimen, system.inbox)
    for specimen in specimens():
        assert system.row(specimen.name)["label"] == specimen.name.split("-")[0].upper(), specimen.name


def test_the_live_version_is_the_bundled_one_and_its_network_is_below_5_mb_for_either_engine(system: System) -> None:
    bundled = registry.bundled()
    assert system.query("SELECT DISTINCT model_version FROM results WHERE state = 'done'") == [(bundled.name,)]
    assert all(file.stat().st_size < 5_000_000 for file in bundled.glob("network.*"))
    found = manifest.read(bundled)
    assert found.metrics["validation"]["recall"]["value"] > 0.97
    assert found.parameters < 1_000_000


@needs_data
def test_full_size_x_rays_are_all_screened_and_agree_with_their_224_pixel_twins(system: System) -> None:
    full = sorted((DATA / "full").glob("*/*.jpeg"))
    for image in full:
        for kind, source in (("full", image), ("twin", DATA / "train" / image.parent.name / image.name)):
            folder = system.inbox / kind / image.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder)
    agreeing, right = 0, 0
    for image in full:
        name = f"{image.parent.name}/{image.name}"
        one, twin = system.row(f"full/{name}"), system.row(f"twin/{name}")
        assert one["state"] == twin["state"] == "done"
        agreeing += one["label"] == twin["label"]
        right += one["label"] == image.parent.name
    assert len(full) == 120
    assert agreeing >= 117
    assert right >= 110


@needs_cases
def test_every_file_from_a_public_report_gets_the_row_of_its_reference_or_the_reason_to_refuse_it(
    system: System, tmp_path: Path
) -> None:
    box = tmp_path / "cases"
    box.mkdir()
    for name in [*REFERENCES, *(case.name for case in CASES)]:
        shutil.copyfile(FOLDER / name, box / name)
        os.utime(box / name, (LONG_AGO, LONG_AGO))  # so that nobody waits for the rest of what is cut off
    shutil.move(box, system.inbox / "cases")
    references = {name: system.row(f"cases/{name}") for name in REFERENCES}
    assert {row["state"] for row in references.values()} == {"done"}
    wrong = []
    for case in CASES:
        row = system.row(f"cases/{case.name}")
        if case.refusal:
            is_right = row["state"] == "quarantined" and case.refusal[1] in row["reason"]
        else:
            right = [references[name]["probability"] for name in case.references]
            is_right = row["state"] == "done" and min(abs(row["probability"] - each) for each in right) <= TOLERANCE
        if not is_right:
            wrong.append((case, row))
    assert not wrong, "\n".join(map(str, wrong))
    repaired = dict(system.query("SELECT path, repaired FROM results WHERE path LIKE 'cases/%'"))
    assert len(repaired) == len(CASES) + len(REFERENCES)
    assert {name for name, is_repaired in repaired.items() if is_repaired} == {
        f"cases/{case.name}" for case in CASES if case.is_repaired
    }


@pytest.mark.soak  # of the parts of `bench` tells tests/unit/test_bench.py
@pytest.mark.parametrize("rows", ["limit", "system,limit,script"])
def test_bench_measures_the_rows_and_prints_their_ratios(tmp_path: Path, rows: str) -> None:
    command = [sys.executable, "-m", "cli.main", "bench", "--images", str(SAMPLES), "--files", "100"]
    command += ["--only", rows, "--json"]
    variables = environment(tmp_path / "home")
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=pace.seconds(170))
    assert done.returncode == 0, done.stderr
    expected = {f"system_to_{row}" for row in rows.split(",") if "system" in rows and row != "system"}
    assert set(json.loads(done.stdout)["ratios"]) == expected
    assert json.loads(done.stdout)["figures"].keys() == set(rows.split(","))


@pytest.mark.soak  # as tests/unit/test_architectures.py says of every network
def test_an_architecture_builds_as_an_uncompiled_keras_model() -> None:
    code = (
        "from trainer.architectures import build; m = build('screen'); "
        "print(m.count_params(), m.input_shape, m.output_shape, m.optimizer if hasattr(m, 'optimizer') else None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=pace.seconds(120))
    assert done.stdout.split()[0] == "716465", done.stderr
    assert done.stdout.strip().endswith("None")
