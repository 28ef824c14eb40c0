"""Worker processes killed in every step of their work, alone and with their parent; images that kill their process."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest

from tests.faults.trial import IMAGES, IS_LONG, LENGTHY, MIN_IMAGES, STRIKES, Trial, alive, struck
from tests.plan import short
from tests.servers import Servers
from tests.system import System

KILLS, KILLED_AMID = (10, 40) if IS_LONG else (3, 70)
"""How often all is killed in a row, and amid how many images each time."""
WORKER = "cli.main worker"
StartTrial = Callable[[System, str], Trial]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, servers: Servers | None) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("workers")
    with struck(folder, servers, pace=0.04, PNEUMOSCREEN_PROCESSES="2") as found:
        yield found


SEAMS = ("read", "decode", "inference", "commit", "committed", "acknowledgement")


@pytest.mark.parametrize("seam", short(["inference", "committed"], SEAMS))
def test_a_worker_process_killed_in_any_step_loses_nothing(system: System, trial: StartTrial, seam: str) -> None:
    fault = trial(system, f"worker process killed: {seam}")
    for _ in range(STRIKES):
        fault.strike_at(seam)
    fault.end()


@pytest.mark.soak
def test_a_worker_killed_while_it_acknowledges_screens_nothing_twice(system: System, trial: StartTrial) -> None:
    fault = trial(system, "worker parent killed: acknowledgement")
    for _ in range(LENGTHY):  # a parent takes a while to start
        fault.strike_at("acknowledging parent", images=STRIKES * IMAGES // LENGTHY)
    fault.end()


def test_a_worker_s_parent_killed_alone_leaves_no_orphan_that_works_on(system: System, trial: StartTrial) -> None:
    fault = trial(system, "worker parent killed")
    orphans: list[psutil.Process] = []

    def blow() -> None:
        parent = _parent(system)
        orphans.extend(parent.children(recursive=True))
        parent.kill()

    for _ in range(LENGTHY):
        fault.strike(blow, images=STRIKES * IMAGES // LENGTHY)
    fault.end()
    assert orphans
    fault.wait(lambda: not alive(orphans), "every orphan to end")


@pytest.mark.soak
def test_parent_and_processes_killed_again_and_again_lose_nothing(system: System, trial: StartTrial) -> None:
    fault = trial(system, f"worker parent and processes killed, {KILLS} times in a row")

    def kill_all() -> None:
        for process in _processes(system):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    for _ in range(KILLS):
        fault.strike(kill_all, images=KILLED_AMID)
    fault.end()


@pytest.mark.parametrize("way", short(["segv"], ["segv", "memory", "hang"]))
def test_an_image_that_kills_its_process_is_quarantined_alone(system: System, trial: StartTrial, way: str) -> None:
    fault = trial(system, f"an image that kills its process: {way}")
    folders = [fault.drop(deadly=[way]) for _ in range(STRIKES)] if IS_LONG else [fault.drop(MIN_IMAGES, deadly=[way])]
    fault.strikes = len(folders)
    fault.end(quarantined=len(folders))
    for folder in folders:
        rows = system.query(
            "SELECT path, reason FROM results WHERE state = 'quarantined' AND path LIKE ?", f"{folder}/%"
        )
        assert rows == [(f"{folder}/deadly-{way}.jpeg", "the process that worked on this image alone died 3 times")]
        content = hashlib.sha256((system.inbox / rows[0][0]).read_bytes()).hexdigest()
        deaths = list((system.home.parent / "strikes").glob(f"death.{content}.*"))
        assert len(deaths) <= 4, "one amid its neighbours, three alone"


def _processes(system: System) -> list[psutil.Process]:
    return system.processes(WORKER)


def _parent(system: System) -> psutil.Process:
    parents = [process for process in _processes(system) if WORKER not in " ".join(process.parent().cmdline())]
    assert len(parents) == 1, parents
    return parents[0]
