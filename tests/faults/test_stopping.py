"""Ended under load: what is in hand is finished or given back, nothing is lost, and no process is left."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests import hostile
from tests.faults.trial import DATABASES, EACH_WAY, IMAGES, LENGTHY, STRIKES, Trial, alive, struck
from tests.plan import short
from tests.servers import Servers
from tests.system import SECONDS, System

StartTrial = Callable[[System, str], Trial]
SERVICES = {
    "producer": "cli.main producer",
    "worker": "cli.main worker",
    "trainer": "cli.main trainer",
    "flower": "cli.main flower",
}
BESIDE = ("trainer", "flower")
"""Services that no image passes through."""
READY = {"producer": "watching source", "worker": " ready.", "trainer": " ready.", "flower": "Visit me at"}
"""What each writes into its log when it has started."""
ENDS = (("up", signal.SIGTERM, 0), ("up", signal.SIGKILL, -signal.SIGKILL), ("supervisor", signal.SIGKILL, 1))
"""What is ended, by which signal, and the exit code of `up` then."""


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, make_servers: Callable[[str], Servers | None]
) -> tuple[Path, Servers | None]:
    return tmp_path_factory.mktemp("stopping"), make_servers("postgresql")


@pytest.fixture(scope="module")
def system(site: tuple[Path, Servers | None]) -> Iterator[System]:
    folder, servers = site
    cwd = hostile.fill(folder / "cwd", folder / "trace")
    with struck(folder, servers, flower=True, trainer=True, cwd=cwd, **hostile.VARIABLES) as found:
        yield found


@pytest.mark.parametrize("service", short(["producer", "worker"], SERVICES))
def test_sigterm_to_a_service_under_load_ends_it_in_good_order(system: System, trial: StartTrial, service: str) -> None:
    fault = trial(system, f"SIGTERM to the {service}")

    def stop() -> None:
        before = len(_exits(system, service))
        parent = _parent(system, service)
        parent.terminate()
        if service != "flower":  # its own handler is no match for a second signal, and it holds no work
            with suppress(ProcessLookupError):  # twice, and to its children: as GNU `timeout` and systemd do it
                os.killpg(parent.pid, signal.SIGTERM)
        system.wait(lambda: len(_exits(system, service)) > before, f"{service} to end", SECONDS)

    strikes = LENGTHY if service in BESIDE else STRIKES
    for _ in range(strikes):
        fault.wait(lambda: _is_ready(system, service), f"{service} to run")
        fault.strike(stop, images=STRIKES * IMAGES // strikes)
    fault.end()
    assert _exits(system, service) == ["exit status 0; expected"] * strikes
    suspects = "SELECT count(*) FROM jobs WHERE lane = 'suspect'"
    assert system.query(suspects) == [(0,)], "a batch was left to its lease"


def test_in_hostile_surroundings_no_program_of_up_runs_what_lies_in_the_folder_it_was_started_in(
    system: System,
) -> None:
    """Its services worked all through the tests above, beside variables that are meant for other applications."""
    logs = {service: (system.home / "logs" / f"{service}.log").read_text(errors="replace") for service in SERVICES}
    assert {service for service in SERVICES if READY[service] in logs[service]} == set(SERVICES)
    trace = system.home.parent / "trace"
    assert not trace.exists(), trace.read_text()


def test_up_killed_under_load_leaves_no_process_and_the_next_start_goes_on(
    system: System, site: tuple[Path, Servers | None], trial: StartTrial
) -> None:
    """The last of the tests of this one system, with all of its services."""
    fault = trial(system, "up ended by SIGKILL")
    fault.strike(partial(_end, system, "up", signal.SIGKILL, -signal.SIGKILL), images=STRIKES * IMAGES)
    _assert_that_all_is_in_order(system)
    folder, servers = site
    with struck(folder, servers) as fault.system:
        fault.end()
    _assert_that_none_took_too_long(system)


@pytest.mark.soak
@pytest.mark.parametrize("kind", DATABASES)
def test_up_ended_in_each_way_leaves_no_process_and_the_next_start_goes_on(
    tmp_path: Path, trial: StartTrial, make_servers: Callable[[str], Servers | None], kind: str
) -> None:
    """By SIGTERM, SIGKILL, or with its supervisor, again and again; `make test` has SIGKILL above."""
    servers = make_servers(kind)
    fault = None
    for number in range(EACH_WAY):
        # Not in turn: what a killed supervisor's worker had in hand is suspect, in good order nothing may be.
        whom, how, code = ENDS[number * len(ENDS) // EACH_WAY]
        with struck(tmp_path, servers, trainer=True) as system:
            fault = fault or trial(system, f"up ended by SIGTERM, SIGKILL, or with its supervisor, {kind}")
            fault.system = system
            fault.strike(partial(_end, system, whom, how, code), images=STRIKES * IMAGES // EACH_WAY)
        if whom == "up":
            _assert_that_all_is_in_order(system)
    with struck(tmp_path, servers) as system:
        assert fault
        fault.system = system
        fault.end()
    _assert_that_none_took_too_long(system)


def _assert_that_all_is_in_order(system: System) -> None:
    """However `up` ended itself, its services gave back what they had in hand."""
    assert system.query("SELECT count(*) FROM jobs WHERE state = 'claimed' OR lane = 'suspect'") == [(0,)]


def _assert_that_none_took_too_long(system: System) -> None:
    assert "with SIGKILL" not in (system.home / "logs" / "supervisord.log").read_text(), "a service took too long"


def _end(system: System, whom: str, how: int, code: int) -> None:
    """Returns when `up` and all that it started are gone."""
    up = psutil.Process(system.process.pid)
    started = up.children(recursive=True)
    victim = up if whom == "up" else system.processes("supervisor.supervisord")[0]
    victim.send_signal(how)
    assert system.process.wait(SECONDS) == code
    deadline = time.monotonic() + SECONDS
    while left := alive(started):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


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
