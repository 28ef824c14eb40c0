"""The trainer service in a running system: from a labelled folder to a version that screens, through a kill."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pace
from tests.acceptance.test_training import known_sides
from tests.faults.trial import IS_LONG, SEAMS
from tests.system import QUICK, System, distinct, make_linear_home, running, specimens
from trainer.fit import HISTORY, losses

pytestmark = [
    pytest.mark.timeout(600),  # a real network is fitted, and machines differ
    pytest.mark.soak,  # the parts of it: tests/unit/test_train.py, test_training.py, tests/faults/test_trainers.py
]
ARCHITECTURE = "tiny7"
"""The network whose recipe is over first."""
EPOCHS = 40 if IS_LONG else 5
"""As in the recipe, or as many as are enough for blobs."""
SECONDS = pace.seconds(180)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("trainer")
    make_linear_home(folder / "home")
    data = known_sides(folder / "labelled")
    training = {"PNEUMOSCREEN_TRAINING_DATA": str(data), "PNEUMOSCREEN_ARCHITECTURE": ARCHITECTURE}
    training |= {"PYTHONPATH": str(SEAMS), "EPOCHS": str(EPOCHS)}  # the number of epochs is no setting
    with running(folder, flower=True, trainer=True, settings=QUICK | training) as found:
        yield found


def epochs(home: Path) -> int:
    return sum(len(losses(story)) for story in (home / "training").glob(f"*/{HISTORY}"))


def tasks_in_flower(system: System) -> list[tuple[str, str, str]]:
    """Name, state and result of each task that Flower lists."""
    page = (
        "tasks/datatable?draw=1&start=0&length=50&search[value]=&order[0][column]=0&order[0][dir]=asc"
        "&columns[0][data]=name&search[regex]=false"
    )
    with urllib.request.urlopen(f"{system.flower}/{page}", timeout=SECONDS) as response:
        found = json.loads(response.read())["data"]
    return [(task["name"], task["state"], task["result"]) for task in found]


def screen(system: System, number: int) -> tuple[str, str]:
    """State of a newly dropped image, and the version that screened it."""
    distinct(specimens()[0], system.inbox / f"{number}.jpeg", number)
    system.row(f"{number}.jpeg")
    ((state, version),) = system.query("SELECT state, model_version FROM results WHERE path = ?", f"{number}.jpeg")
    return state, version


def test_a_run_that_is_killed_is_resumed_and_its_version_passes_the_gate_and_screens(system: System) -> None:
    """One test, since each step waits for the one before: the run takes a minute."""
    system.wait(lambda: epochs(system.home) >= 2, "the first epochs", SECONDS)
    assert system.query("SELECT id, architecture, cause, state, fence FROM training_runs") == [
        (1, ARCHITECTURE, "schedule", "running", 1)
    ]
    (process,) = system.processes("trainer.run")
    process.kill()
    assert screen(system, 1) == ("done", "linear-1"), "screening goes on meanwhile"
    told = system.command("status").stdout
    assert re.search(rf"training run 1 \(tiny7.*\) is under way, \d+ of at most {EPOCHS} epochs done\n", told), told

    ended = "SELECT state, fence, version, problem FROM training_runs WHERE state <> 'running'"
    ((state, fence, version, problem),) = system.wait(lambda: system.query(ended), "the run to end", SECONDS)
    assert (state, fence, problem) == ("published", 2, None)
    lines = (system.home / "logs" / "trainer.log").read_text().splitlines()
    done = [int(line.split()[1]) for line in lines if re.match(rf"epoch \d+ of {EPOCHS}: ", line)]
    assert done == sorted(done) and done.count(1) == 1, "the successor did not begin again"
    ((text,),) = system.query("SELECT verdict FROM model_versions WHERE version = ?", version)
    verdict = json.loads(text)
    assert verdict["passed"] and verdict["challenger"]["recall"] >= 0.97 and verdict["patients"] >= 60
    assert [compared["other"]["version"] for compared in verdict["comparisons"]] == ["linear-1"]

    held = "SELECT DISTINCT model_version FROM workers"
    system.wait(lambda: system.query(held) == [(version,)], "the idle worker to take the version")
    assert screen(system, 2) == ("done", version)
    assert system.query("SELECT model_version FROM results WHERE path = '1.jpeg'") == [("linear-1",)]

    task = ("pneumoscreen.train", "SUCCESS", "'run 1 has ended'")
    system.wait(lambda: task in tasks_in_flower(system), f"Flower to list the run, not {tasks_in_flower(system)}")
    status = system.command("status")
    assert status.returncode == 0, status.stdout
    assert f"{version} passed the gate and went live" in status.stdout
