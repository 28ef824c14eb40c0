"""Processes killed and brokers emptied while images are under way: every image still ends as one row."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis

from shared.broker import EPOCH_KEY
from tests.servers import Servers
from tests.system import System, distinct, make_linear_home, running, specimens

IMAGES = 500


@pytest.fixture(params=["sqlite", "postgresql"])
def system(
    request: pytest.FixtureRequest, tmp_path: Path, make_servers: Callable[[str], Servers | None]
) -> Iterator[System]:
    servers = make_servers(request.param)
    make_linear_home(tmp_path / "home", servers.database_url if servers else None)
    with running(tmp_path, servers=servers) as found:
        yield found


only_private_broker = pytest.mark.parametrize("system", ["sqlite"], indirect=True)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Five hundred images of distinct bytes, in a folder beside the inbox."""
    folder = tmp_path / "images"
    folder.mkdir()
    sources = [path for path in specimens() if path.suffix == ".jpeg"]
    for number in range(IMAGES):
        distinct(sources[number % len(sources)], folder / f"{number:03d}.jpeg", number)
    return folder


def _redis(system: System) -> Redis:
    announced = (system.home / "run" / "up.toml").read_text()
    url = next(line for line in announced.splitlines() if line.startswith("broker_url")).split('"')[1]
    return Redis.from_url(url, decode_responses=True)


def _done(system: System) -> int:
    return int(system.query("SELECT count(*) FROM sightings WHERE state = 'done'")[0][0])


def _wait_until(system: System, done: int) -> None:
    system.wait(lambda: _done(system) >= done, f"{done} images")
    assert _done(system) < IMAGES, "the fault came too late to hit anything"


def _all_done_once(system: System) -> None:
    system.wait_for_states(done=IMAGES)
    assert system.query("SELECT count(*), count(DISTINCT path) FROM results WHERE state = 'done'") == [(IMAGES, IMAGES)]
    assert system.query("SELECT count(*), count(DISTINCT sha256) FROM predictions") == [(IMAGES, IMAGES)]
    assert system.query("SELECT count(*) FROM jobs WHERE state <> 'finished'") == [(0,)]


def test_killing_workers_and_emptying_the_broker_amid_500_images_loses_none(system: System, images: Path) -> None:
    images.rename(system.inbox / "drop")
    _wait_until(system, 50)
    for process in system.processes("celery -A worker.app worker"):
        process.send_signal(signal.SIGKILL)
    _wait_until(system, 120)
    _redis(system).flushall()
    _wait_until(system, 200)
    children = [p for p in system.processes("celery -A worker.app worker") if p.parent().name() != "supervisord"]
    children = [p for p in children if "celery" in " ".join(p.parent().cmdline())]
    assert children, "no worker child to kill"
    children[0].send_signal(signal.SIGKILL)
    _all_done_once(system)
    assert system.query("SELECT count(*) FROM jobs WHERE delivery > 1")[0][0] > 0, "no fault hit anything"


@only_private_broker
def test_a_broker_killed_and_started_again_by_the_supervisor_loses_nothing(system: System, images: Path) -> None:
    images.rename(system.inbox / "drop")
    _wait_until(system, 50)
    system.processes("broker.conf" if system.processes("broker.conf") else "valkey-server")[0].kill()
    _all_done_once(system)


def test_a_producer_killed_in_the_middle_goes_on_where_it_was(system: System, images: Path) -> None:
    images.rename(system.inbox / "drop")
    _wait_until(system, 20)
    system.processes("cli.main producer")[0].kill()
    _all_done_once(system)


def test_a_message_that_is_popped_and_lost_is_sent_again(system: System, images: Path) -> None:
    worker = system.processes("celery -A worker.app worker")
    for process in worker:
        process.suspend()
    images.rename(system.inbox / "drop")
    redis = _redis(system)
    queue = system.wait(lambda: [key for key in redis.keys("pneumoscreen*") if key != EPOCH_KEY], "a message")[0]
    assert json.loads(str(redis.rpop(queue)))["headers"]["task"] == "pneumoscreen.screen"
    for process in worker:
        process.resume()
    _all_done_once(system)


def test_sigterm_lets_running_batches_finish_and_ends_with_0(system: System, images: Path) -> None:
    images.rename(system.inbox / "drop")
    _wait_until(system, 50)
    assert system.stop() == 0
    assert system.query("SELECT count(*) FROM jobs WHERE state = 'claimed'") == [(0,)]


def test_no_process_is_left_when_up_itself_is_killed(system: System) -> None:
    children = psutil.Process(system.process.pid).children(recursive=True)
    system.process.kill()
    system.process.wait()
    deadline = time.monotonic() + 60
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < deadline, [child for child in children if child.is_running()]
        time.sleep(0.1)
