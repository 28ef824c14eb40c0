"""Two versions of the program drain one queue: a newer producer beside an older worker, and the reverse.

That old databases are brought up to date, also by a migration that is killed, is shown in tests/migration.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import pace
from tests.faults.trial import DATABASES, IMAGES, IS_LONG, LENGTHY, STRIKES, Trial, struck
from tests.servers import Servers
from tests.system import SECONDS, System

pytestmark = pytest.mark.soak  # what a worker does with such a message: tests/unit/test_screening.py
OUTDATED = "10" if IS_LONG else pace.setting(3)
"""Seconds for which a worker that is too old leaves jobs to others; ten in the product."""
NEWER_PRODUCER, NEWER_WORKER = "producer", "worker"
"""The word of a command line that tells the processes of one service, for the variable NEWER of the seams."""
TOLD = "the message has schema 2, this worker knows 1: upgrade the worker"
StartTrial = Callable[[System, str], Trial]
Start = Callable[[str], AbstractContextManager[System]]


@pytest.fixture(params=DATABASES)
def start(request: pytest.FixtureRequest, tmp_path: Path, make_servers: Callable[[str], Servers | None]) -> Start:
    """Starts a system in which one service, named by a word of its command line, is of a newer version."""
    more = {
        "OUTDATED": OUTDATED,
        "PNEUMOSCREEN_MESSAGE_SIZE": "64",
    }  # it meets all of them before it asks for any again
    return lambda newer: struck(tmp_path, make_servers(request.param), NEWER=newer, **more)


@contextmanager
def another(system: System, service: str, newer: str = "") -> Iterator[None]:
    """One more service of the same system, in a second shell; it ends on SIGTERM as any other."""
    log = system.home / "logs" / f"another-{service}.log"
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", service],
            env={**system.environment, "NEWER": newer},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
    finally:
        process.terminate()
        process.wait(SECONDS)


def strike_with_newer_producer(fault: Trial, system: System) -> None:
    """Amid the work the older producer hangs and a newer one goes on; then the older one comes back."""
    with ExitStack() as stack:

        def change_over() -> None:
            older = system.processes(f"cli.main {NEWER_PRODUCER}")
            system.halt(older)
            for process in older:
                stack.callback(process.resume)
            stack.enter_context(another(system, NEWER_PRODUCER, newer=NEWER_PRODUCER))

        fault.strike(change_over)
        folder = fault.drop()
        fault.wait(lambda: fault.finished(folder) == 100, "what only the newer producer can send")
    fault.wait(lambda: fault.finished() == fault.count, "all images")


def given_back(system: System) -> int:
    """How many images wait because no worker that met them understands the producer."""
    sql = "SELECT count(*) FROM jobs WHERE state = 'unsent' AND problem = ? AND not_before IS NOT NULL"
    return int(system.query(sql, TOLD)[0][0])


def test_an_older_worker_leaves_a_newer_producer_s_images_to_a_newer_worker(start: Start, trial: StartTrial) -> None:
    with start(NEWER_PRODUCER) as system:
        fault = trial(system, "newer producer beside an older worker")
        images = STRIKES * IMAGES // LENGTHY
        for _ in range(LENGTHY):  # each time a worker has to start
            folder = fault.drop(images)
            system.wait(lambda: given_back(system) >= images, "the older worker to give every image back")
            assert fault.finished(folder) == 0
            status = system.command("status")
            assert status.returncode == 1, status.stdout
            told = [line for line in status.stdout.splitlines() if line.startswith("Needs a person: ")]
            assert any("process" in line and TOLD in line for line in told), "it shows itself outdated"
            tried = [line for line in status.stdout.splitlines() if line.startswith("Retried automatically: ")]
            assert any("images wait" in line and TOLD in line for line in told + tried)
            fault.strikes += 1
            with another(system, "worker", newer=NEWER_WORKER):
                fault.wait(lambda folder=folder: fault.finished(folder) == images, "the newer worker to screen them")
        fault.end()
        assert system.query("SELECT count(*) FROM dead_letters") == [(0,)]
        assert system.query("SELECT count(*) FROM jobs WHERE deaths > 0") == [(0,)]


def test_a_newer_worker_screens_what_older_and_newer_producers_send(start: Start, trial: StartTrial) -> None:
    with start(NEWER_WORKER) as system:
        fault = trial(system, "older producer beside a newer worker, joined by a newer producer")
        for _ in range(LENGTHY):
            strike_with_newer_producer(fault, system)
        fault.end()
        assert given_back(system) == 0
        assert system.query("SELECT count(*) FROM dead_letters") == [(0,)]


def test_older_and_newer_producers_and_workers_drain_one_queue(start: Start, trial: StartTrial) -> None:
    """As in the middle of an upgrade, host by host."""
    with start("") as system:
        fault = trial(system, "producers and workers of two versions, started amid the work")
        with another(system, "worker", newer=NEWER_WORKER):
            for _ in range(STRIKES):
                strike_with_newer_producer(fault, system)
            fault.end()
        assert system.query("SELECT count(*) FROM dead_letters") == [(0,)]
