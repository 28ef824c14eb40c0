"""The world around the files: clocks that jump, floods, folders and shares that go and come, limits reached."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from redis import Redis
from sqlalchemy import select

from shared import database
from shared.base.lanes import LANES
from shared.database import Sighting
from shared.queue.broker import QUEUE, SEPARATOR
from tests import pace
from tests.faults.trial import BOUND, CHOSEN, EACH_WAY, IMAGES, IS_LONG, LENGTHY, STRIKES, Trial, struck
from tests.plan import short
from tests.servers import Servers
from tests.system import System

FLOOD = 100_000 if IS_LONG else 1_800
"""Files that are dropped at once: a hospital's archive, or as many as take a few seconds."""
WAITING = 10_000 if IS_LONG else 300
"""Images that wait for a share that is away."""
AWAY = 30.0 if IS_LONG else pace.span(2.5)
"""Seconds for which a folder is away: several looks of the producer, and several attempts of each image."""
MAX_MEMORY = 250e6
"""Bytes of a producer, which should need 150 MB, however many files there are."""
WORKER = "cli.main worker"
HOUR, DAY = 3600, 24 * 3600
ERRORS = (25 * HOUR, 0, -HOUR, 2 * HOUR, -DAY, -DAY + HOUR)
"""By how much the clock is wrong after each strike, in turn; a day and an hour is beyond the visibility timeout."""
HIGHEST = 2**31 - 1
"""What the limits of a new user namespace are; any other figure would be the machine's own."""
STARTER = f"""#!/bin/sh
exec unshare --user --map-root-user sh -c '
    [ "$(cat /proc/sys/user/max_inotify_instances)" = {HIGHEST} ] || exit 99
    echo 0 > /proc/sys/user/max_inotify_instances
    exec "$@"' sh {{python}} "$@"
"""
StartTrial = Callable[[System, str], Trial]


class TinyTrial(Trial):
    """A trial with images as small as they may be, so that many fit on a disk."""

    def drop(self, images: int = IMAGES, deadly: object = (), folders: int = 1) -> str:
        folder = f"{self.name}.{self._dropped}"
        self._dropped += 1
        aside = self.system.home.parent / "aside" / folder
        write_tiny(aside, images, self.random.randrange(10**9), folders)
        aside.rename(self.system.inbox / folder)
        self.count += images
        return folder


def write_tiny(folder: Path, images: int, seed: int, folders: int = 1) -> None:
    """Images of distinct bytes, each less than 2 kB, spread over so many folders in it."""
    buffer = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 4), dtype=np.uint8)
    Image.fromarray(np.kron(pixels, np.ones((16, 16), dtype=np.uint8))).save(buffer, "JPEG")
    data = buffer.getvalue()
    for number in range(folders):
        (folder / f"{number:04d}").mkdir(parents=True)
    for number in range(images):
        note = f"{seed:012d}.{number:08d}".encode()
        comment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
        (folder / f"{number % folders:04d}" / f"{number:06d}.jpeg").write_bytes(data[:2] + comment + data[2:])


class Renamed:
    """A watched folder that is renamed, and renamed back."""

    what = "renamed away and back"

    def __init__(self, system: System) -> None:
        self.source, self.inbox, self.aside = system, system.inbox, system.home.parent / "away"

    @classmethod
    @contextmanager
    def of(cls, system: System) -> "Iterator[Renamed]":
        yield cls(system)

    def go(self) -> None:
        self.inbox.rename(self.aside)

    def come_back(self, name: str) -> None:
        self.aside.rename(self.inbox)


class Removed(Renamed):
    """A watched folder that is removed and made again, empty at first; then its files are put back."""

    what = "removed and made again"

    def go(self) -> None:
        """Out of sight with its marker first: what went before the marker would rightly be called removed."""
        gone = self.inbox.rename(self.inbox.with_name("gone"))
        self.aside.mkdir()
        for folder in list(gone.glob("*/")):
            folder.rename(self.aside / folder.name)
        shutil.rmtree(gone)  # for its watch, the root itself is deleted
        self.inbox.mkdir()

    def come_back(self, name: str) -> None:
        """Those that are waited for are in the last folder, and come first: the marker comes with any."""
        for folder in sorted(self.aside.glob(f"{name}.*"), key=lambda folder: -int(folder.suffix[1:])):
            folder.rename(self.inbox / folder.name)
        shutil.rmtree(self.aside)


class Unmounted(Renamed):
    """A watched folder that is a mount point; images are dropped into what is mounted there."""

    what = "unmounted and mounted again"

    @classmethod
    @contextmanager
    def of(cls, system: System) -> Iterator[Renamed]:
        share, below = system.home.parent / "share", system.home.parent / "below"
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("only root may mount a folder")
        share.mkdir()
        found = cls(System(system.home, share, system.environment, system.process))
        system.inbox.rename(below)
        (found.inbox, found.aside) = (system.inbox, share)
        found.inbox.mkdir()
        try:
            if not found.mount():
                pytest.skip("this machine lets no test mount a folder")
            yield found
        finally:
            found.unmount()  # unless the test ended while it was away
            found.inbox.rmdir()
            below.rename(system.inbox)

    def mount(self) -> bool:
        return subprocess.run(["mount", "--bind", self.aside, self.inbox], capture_output=True).returncode == 0

    def unmount(self) -> bool:
        return subprocess.run(["umount", "--lazy", self.inbox], capture_output=True).returncode == 0

    def go(self) -> None:
        assert self.unmount()
        assert not any(self.inbox.iterdir()), "images flow on"

    def come_back(self, name: str) -> None:
        assert self.mount()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, servers: Servers | None) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("folders")
    with struck(folder, servers, CLOCK=str(folder / "clock")) as found:
        yield found


on_one_database = pytest.mark.parametrize("servers", [CHOSEN], indirect=True)


@pytest.fixture
def set_clock(system: System) -> Iterator[Callable[[float], None]]:
    """Makes the wall clock of all processes of the system wrong by so many seconds; at the end it is right again."""
    clock = system.home.parent / "clock"

    def set_to(error: float) -> None:
        (aside := clock.with_suffix(".part")).write_text(str(error))
        aside.rename(clock)

    yield set_to
    set_to(0)


def test_a_clock_that_jumps_by_hours_and_days_disturbs_no_work(
    system: System, trial: StartTrial, set_clock: Callable[[float], None]
) -> None:
    fault = trial(system, "clock jumps")
    began = datetime.now(UTC)
    for number in range(EACH_WAY):
        fault.strike(lambda number=number: set_clock(ERRORS[number % len(ERRORS)]))
    fault.end()
    with closing(database.connect(system.database_url)) as ledger, ledger.read() as session:
        ends = session.scalars(select(Sighting.finished_at).where(Sighting.path.startswith(f"{fault.name}."))).all()
    seen = {(end - began) // timedelta(hours=1) for end in ends}
    assert seen >= {error // HOUR for error in ERRORS[:EACH_WAY]}, "the system has seen every wrong time"


@pytest.mark.soak
def test_what_is_lost_while_the_clock_is_set_back_does_not_wait_for_the_old_time(
    system: System, trial: StartTrial, set_clock: Callable[[float], None]
) -> None:
    """Leases and attempts of the old time are lost with the worker and the messages that held them."""
    fault = trial(system, "clock set back as a worker dies and messages are lost")
    redis = Redis.from_url(system.broker_url)
    queues = [
        f"{QUEUE}{SEPARATOR}{priority}" if priority else QUEUE
        for priority in (record.priority for record in LANES.values())
    ]

    def lose() -> None:
        fault.wait(lambda: any(map(redis.lpop, queues)), "a message to lose")
        fault.wait(lambda: _is_claimed(system), "a claimed job")
        for process in system.processes(WORKER):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        set_clock(-HOUR if fault.strikes % 2 else -DAY)

    for _ in range(STRIKES):
        set_clock(0)
        fault.strike(lose)
        fault.wait(lambda: fault.finished() >= fault.count, "all images before the next strike")
    fault.end()
    redis.close()


@on_one_database
@pytest.mark.parametrize("way", short([Removed], [Renamed, Removed, Unmounted]), ids=lambda way: way.__name__.lower())
def test_a_watched_folder_that_goes_and_comes_back_loses_nothing(
    system: System, trial: StartTrial, way: "type[Renamed]"
) -> None:
    with way.of(system) as folder:
        fault = trial(folder.source, f"watched folder {folder.what}")
        for _ in range(LENGTHY):
            fault.strike(folder.go, images=STRIKES * IMAGES // LENGTHY)
            _wait_blameless(fault)
            folder.come_back(fault.name)
            fault.wait(lambda: fault.finished() >= fault.count, "all images before the next strike")
        fault.end()


@on_one_database
def test_a_share_that_vanishes_with_many_waiting_costs_none(
    system: System, record_property: Callable[[str, object], None]
) -> None:
    fault = TinyTrial(system, f"share vanishes with {WAITING:,} waiting", record_property)
    aside = system.home.parent / "away"
    for number in range(LENGTHY):
        fault.strike(lambda: system.inbox.rename(aside), images=IMAGES if number else WAITING)
        _wait_blameless(fault)
        aside.rename(system.inbox)
        fault.wait(lambda: fault.finished() >= fault.count, "all images before the next strike")
    fault.end()


@pytest.mark.soak
def test_a_flood_of_files_is_registered_once_in_little_memory(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """As one folder that is moved in, as many folders, and file by file."""
    with struck(tmp_path, pace=0.0, PNEUMOSCREEN_MESSAGE_SIZE="128", PNEUMOSCREEN_BATCH_SIZE="32") as system:
        fault = TinyTrial(system, f"{FLOOD:,} files at once", record_property)
        part = FLOOD // 3
        fault.drop(part)
        fault.drop(part, folders=min(1000, part // 10))
        write_tiny(system.inbox / f"{fault.name}.written", FLOOD - 2 * part, 10**9 + 1)
        fault.count += FLOOD - 2 * part
        fault.strikes = 3
        most, left, moved_at = 0, FLOOD, time.monotonic()
        while left:
            for producer in system.processes("cli.main producer"):
                most = max(most, producer.memory_info().rss)
            ((registered,),) = system.query("SELECT count(*) FROM sightings")
            ((waiting,),) = system.query("SELECT count(*) FROM jobs WHERE state <> 'finished'")
            now = time.monotonic()
            if FLOOD - registered + waiting != left:
                left, moved_at = FLOOD - registered + waiting, now
            assert now - moved_at < BOUND, f"{left} of {FLOOD} are left:\n{system.logs()}"
            time.sleep(0.2)
        assert system.query("SELECT count(*), count(DISTINCT path) FROM sightings") == [(FLOOD, FLOOD)]
        assert 0 < most < MAX_MEMORY, f"the producer took {most / 1e6:.0f} MB"
        record_property("producer_megabytes", round(most / 1e6))
        fault.end()


@pytest.mark.soak  # that a folder is polled, and that it is told, shows tests/integration/test_folders.py
def test_without_a_watch_left_in_the_kernel_the_folder_is_polled_and_the_log_says_so(
    tmp_path: Path, trial: StartTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a user namespace, which has limits of its own: no other program feels them."""
    if problem := _no_limits_of_its_own():
        pytest.skip(problem)
    starter = tmp_path / "python"
    starter.write_text(STARTER.format(python=sys.executable))
    starter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(starter))
    with struck(tmp_path) as system:
        polled = "cannot be watched by events (no inotify {} is left"
        assert polled.format("instance") in _log(system)
        fault = trial(system, "inotify limits reached")
        changes = (
            ("max_inotify_instances", HIGHEST, "is watched by events again"),
            ("max_inotify_watches", 2, polled.format("watch")),
            ("max_inotify_watches", HIGHEST, "is watched by events again"),
            ("max_inotify_instances", 0, polled.format("instance")),
        )
        for number in range(STRIKES):
            limit, value, line = changes[number % len(changes)]
            said = _log(system).count(line)
            fault.strike(lambda limit=limit, value=value: _set_limit(system, limit, value))
            fault.wait(lambda line=line, said=said: _log(system).count(line) > said, f"{line!r} in its log")
        fault.end()
        assert _log(system).count("by events") == 1 + STRIKES, "a line for each change, not for each look"


def _no_limits_of_its_own() -> str | None:
    """Why this machine gives a test no user namespace with limits of its own; None if it does."""
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("nsenter"):
        return "there is no unshare or nsenter on this machine"
    command = ["unshare", "--user", "--map-root-user", "cat", "/proc/sys/user/max_inotify_instances"]
    found = subprocess.run(command, capture_output=True, text=True)
    return None if found.stdout.strip() == str(HIGHEST) else "this machine gives a test no user namespace of its own"


def _set_limit(system: System, limit: str, value: int) -> None:
    """Within the system's own user namespace, never in the machine's."""
    script = f'[ "$(readlink /proc/self/ns/user)" != "$1" ] && echo {value} > /proc/sys/user/{limit}'
    enter = ["nsenter", "--user", "--preserve-credentials", f"--target={system.process.pid}"]
    subprocess.run([*enter, "sh", "-c", script, "sh", str(Path("/proc/self/ns/user").readlink())], check=True)


def _log(system: System) -> str:
    return (system.home / "logs" / "producer.log").read_text(errors="replace")


def _is_claimed(system: System) -> bool:
    return system.query("SELECT count(*) FROM jobs WHERE state = 'claimed'") != [(0,)]


def _quarantined(fault: Trial) -> int:
    sql = "SELECT count(*) FROM results WHERE state = 'quarantined' AND path LIKE ?"
    return int(fault.system.query(sql, f"{fault.name}.%")[0][0])


def _wait_blameless(fault: Trial) -> None:
    """While the folder is away, every image waits for it."""
    since = time.monotonic()
    while time.monotonic() - since < AWAY:
        assert _quarantined(fault) == 0, "an image is not to blame for its folder"
        time.sleep(0.2)
