"""Producers killed in every step of their work, alone and beside others that watch the same folder."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import NullPool, create_engine, text

from tests.faults.trial import EACH_WAY, KINDS, LENGTHY, STRIKES, Trial, struck
from tests.plan import short
from tests.servers import Servers
from tests.system import System

PRODUCER = "cli.main producer"
SEAMS = ("unsent", "marked", "published")
"""Before its jobs are taken, between their commit and the publishing, after that."""
StartTrial = Callable[[System, str], Trial]


@pytest.fixture(scope="module")
def system(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_servers: Callable[[str], Servers | None],
) -> Iterator[System]:
    """Only one message waits in a lane, so that there is something to be sent until almost all is done."""
    folder = tmp_path_factory.mktemp("producers")
    with struck(folder, make_servers(request.param), PNEUMOSCREEN_MESSAGES_AHEAD="1") as found:
        yield found


@pytest.mark.soak  # among several producers, one is killed in each of these steps below
@pytest.mark.parametrize("system", KINDS, indirect=True)
@pytest.mark.parametrize("seam", SEAMS)
def test_a_producer_killed_in_any_step_of_sending_loses_nothing(system: System, trial: StartTrial, seam: str) -> None:
    fault = trial(system, f"producer killed: {seam}")
    for _ in range(STRIKES):
        fault.strike_at(seam)
    fault.end()


@pytest.mark.parametrize("system", ["postgresql"], indirect=True)
def test_a_producer_killed_before_its_registration_is_committed_finds_the_files_again(
    system: System, trial: StartTrial
) -> None:
    fault = trial(system, "producer killed: registered, not committed")

    def blow() -> None:
        with _registration_held(system) as is_held:
            folder = fault.drop()
            fault.wait(is_held, "a producer to register")
            _kill_producer(system)
            assert system.query("SELECT count(*) FROM sightings WHERE path LIKE ?", f"{folder}/%") == [(0,)]

    for _ in range(LENGTHY):  # which drops as many images again
        fault.strike(blow)
    fault.end()


@pytest.mark.soak
@pytest.mark.parametrize("system", KINDS, indirect=True)
def test_a_producer_killed_at_any_moment_after_files_came_loses_nothing(system: System, trial: StartTrial) -> None:
    fault = trial(system, "producer killed: any moment after files came")

    def blow() -> None:
        fault.drop()
        time.sleep(fault.random.uniform(0, 0.6))
        _kill_producer(system)
        fault.wait(lambda: system.processes(PRODUCER), "a producer to be started again")

    for _ in range(STRIKES):
        fault.strike(blow)
    fault.end()


@pytest.mark.parametrize("system", short(["postgresql"], KINDS), indirect=True)
@pytest.mark.parametrize("producers", short([3], [2, 3]))
def test_producers_on_one_folder_of_which_some_are_killed_do_nothing_twice(
    system: System, trial: StartTrial, producers: int
) -> None:
    fault = trial(system, f"one of {producers} producers on one folder killed")
    with _more_producers(system, producers - 1) as keep_up:
        for number in range(EACH_WAY):
            fault.strike_at(SEAMS[number % len(SEAMS)])
            keep_up()
        fault.end()
    doubled = "SELECT path FROM sightings WHERE path LIKE ? GROUP BY path HAVING count(*) > 1"
    assert system.query(doubled, f"{fault.name}.%") == []


def _kill_producer(system: System) -> None:
    for process in system.processes(PRODUCER):
        process.kill()


@contextmanager
def _more_producers(system: System, count: int) -> Iterator[Callable[[], None]]:
    """Producers beside that of `up`, as other hosts have them; the function starts those again that died."""
    command = [sys.executable, "-m", "cli.main", "producer"]
    running: list[subprocess.Popen[bytes]] = []
    file = system.home / "logs" / f"more-producers-{count}.log"
    with file.open("ab") as log:

        def keep_up() -> None:
            running[:] = [process for process in running if process.poll() is None]
            while len(running) < count:
                seen = file.read_text().count("watching source")
                running.append(subprocess.Popen(command, env=system.environment, stdout=log, stderr=log))
                system.wait(lambda seen=seen: file.read_text().count("watching source") > seen, "another producer")

        keep_up()
        try:
            yield keep_up
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()


@contextmanager
def _registration_held(system: System) -> Iterator[Callable[[], bool]]:
    """Whoever registers waits between the insertion of its sightings and that of their jobs.

    The function says whether somebody does.
    """
    engine = create_engine(system.database_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    waiting = text("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted")
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(4711)"))
        connection.execute(
            text(
                "CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END'"
            )
        )
        connection.execute(text("CREATE TRIGGER hold BEFORE INSERT ON jobs EXECUTE FUNCTION hold()"))
        try:
            yield lambda: bool(connection.scalar(waiting))
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(4711)"))
            connection.execute(text("DROP TRIGGER hold ON jobs"))
