"""SIGTERM under load: what is in hand is finished or given back, nothing is lost, and the exit code is 0."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cli.private_broker import free_port
from tests.faults.trial import DATABASES, STRIKES, Trial, struck
from tests.servers import Servers
from tests.system import System

StartTrial = Callable[[System, str], Trial]
SERVICES = {
    "producer": "cli.main producer",
    "worker": "celery -A worker.app worker",
    "trainer": "celery -A trainer.app worker",
    "flower": "celery -A worker.app flower",
}
READY = {"producer": "watching root", "worker": " ready.", "trainer": " ready.", "flower": "Visit me at"}
"""What each writes into its log when it has started."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, make_servers: Callable[[str], Servers | None]) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("stopping")
    with struck(folder, make_servers("postgresql"), flower=str(free_port())) as found:
        yield found


@pytest.mark.parametrize("service", SERVICES)
def test_sigterm_to_a_service_under_load_ends_it_in_good_order(system: System, trial: StartTrial, service: str) -> None:
    fault = trial(system, f"SIGTERM to the {service}")

    def stop() -> None:
        before = len(_exits(system, service))
        _parent(system, service).terminate()
        fault.wait(lambda: len(_exits(system, service)) > before, f"{service} to end")

    for _ in range(STRIKES):
        fault.wait(lambda: _is_ready(system, service), f"{service} to run")
        fault.strike(stop)
    fault.end()
    assert _exits(system, service) == ["exit status 0; expected"] * STRIKES
    suspects = "SELECT count(*) FROM jobs WHERE lane = 'suspect'"
    assert system.query(suspects) == [(0,)], "a batch was left to its lease"


@pytest.mark.parametrize("kind", DATABASES)
def test_sigterm_to_the_whole_system_under_load_gives_back_what_the_next_start_finishes(
    tmp_path: Path, trial: StartTrial, make_servers: Callable[[str], Servers | None], kind: str
) -> None:
    servers = make_servers(kind)
    fault = None
    for _ in range(STRIKES):
        with struck(tmp_path, servers) as system:
            fault = fault or trial(system, f"SIGTERM to up, {kind}")
            fault.system = system
            fault.strike(lambda: _stop(system))
        assert system.query("SELECT count(*) FROM jobs WHERE state = 'claimed' OR lane = 'suspect'") == [(0,)]
    with struck(tmp_path, servers) as system:
        assert fault
        fault.system = system
        fault.end()


def test_no_process_is_left_when_up_itself_is_killed(tmp_path: Path) -> None:
    with struck(tmp_path) as system:
        children = psutil.Process(system.process.pid).children(recursive=True)
        system.process.kill()
        system.process.wait()
        deadline = time.monotonic() + 60
        while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
            assert time.monotonic() < deadline, [child for child in children if child.is_running()]
            time.sleep(0.1)


def _stop(system: System) -> None:
    assert system.stop() == 0


def _exits(system: System, service: str) -> list[str]:
    """How the supervisor says that a service ended, each time."""
    text = (system.home / "logs" / "supervisord.log").read_text(encoding="utf-8")
    return re.findall(rf"exited: {service} \((.*?)\)", text)


def _parent(system: System, service: str) -> psutil.Process:
    """The process that the supervisor started, and none of its children."""
    return next(p for p in system.processes(SERVICES[service]) if "supervisord" in " ".join(p.parent().cmdline()))


def _is_ready(system: System, service: str) -> bool:
    """It runs, and said so as often as it was started: in its first moments it has no handler for signals."""
    if not system.processes(SERVICES[service]):
        return False
    log = (system.home / "logs" / f"{service}.log").read_text(encoding="utf-8", errors="replace")
    return log.count(READY[service]) > len(_exits(system, service))
