"""A fault on trial: images under way, strikes amid them, and an account of what became of every image."""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy.exc import DBAPIError

from tests.pace import seconds, setting
from tests.plan import short
from tests.servers import Servers
from tests.system import QUICK, System, distinct, make_linear_home, running, specimens

STRIKES = int(os.environ.get("FAULT_STRIKES", "2"))
"""How often each fault strikes; as many times IMAGES are under way."""
IS_LONG = STRIKES > 3
"""Whether to take the time that outages take, as `make soak` does; what it runs beside is marked `soak`."""
EACH_WAY = max(3, STRIKES)
"""The same for a fault that has three ways to strike."""
LENGTHY = STRIKES if IS_LONG else 1
"""The same for a fault that lasts: the short form has less time, and lets each strike once, amid more images."""
SEED = int(os.environ.get("FAULT_SEED", "1"))
IMAGES = 100
MIN_IMAGES = 200
"""An account of fewer would say little."""
MAX_TRIES = 5
POLL_SECONDS, COUNT_SECONDS = 0.1, 0.3
"""How often a condition is looked at, and how often the images are counted."""
BOUND = seconds(90)
"""Seconds within which work goes on after any fault, with the settings of these tests: `docs/reliability.md`."""
SEAMS = Path(__file__).parent / "seams"
KINDS = ("sqlite", "postgresql")
CHOSEN = KINDS[SEED % 2]
DATABASES = short([CHOSEN], KINDS)


@dataclass(frozen=True)
class Account:
    """What the table at the end of the suite says of a fault; `longest` is the longest time nothing was finished."""

    fault: str
    strikes: int
    images: int
    lost: int
    doubled: int
    wrongly_quarantined: int
    longest: float


class Trial:
    def __init__(self, system: System, fault: str, record: Callable[[str, object], None]) -> None:
        """`system` may be replaced by its successor in the same home."""
        self.system, self.fault = system, fault
        self.name = "".join(letter if letter.isalnum() else "-" for letter in fault)
        self.random = random.Random(f"{SEED} {fault}")
        self.count = 0
        self.strikes = 0
        self._record = record
        self._is_accounted = False
        self._dropped = 0
        self._finished = 0
        self._moved_at = time.monotonic()
        self._longest = 0.0

    def drop(self, images: int = IMAGES, deadly: Sequence[str] = ()) -> str:
        """Drop a folder of images of distinct bytes, and a deadly one for each way to die; returns its path.

        It appears at once, as a folder that is moved in.
        """
        folder = f"{self.name}.{self._dropped}"
        self._dropped += 1
        aside = self.system.home.parent / "aside" / folder
        aside.mkdir(parents=True)
        sources = [path for path in specimens() if path.suffix == ".jpeg"]
        for number in range(images):
            distinct(self.random.choice(sources), aside / f"{number:05d}.jpeg", self.random.randrange(10**12))
        for way in deadly:
            image = aside / f"deadly-{way}.jpeg"
            distinct(sources[0], image, self.random.randrange(10**12))
            data = image.read_bytes()
            note = f"deadly: {way}".encode()
            image.write_bytes(data[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + data[2:])
        aside.rename(self.system.inbox / folder)
        self.count += images + len(deadly)
        return folder

    def strike(self, blow: Callable[[], object], *, images: int = IMAGES, outlasts: bool = False) -> None:
        """Drop images, and let the fault strike at some moment while they are under way.

        It must hit waiting work: where all was finished before this process saw it, or `blow` says False since it
        found nothing to hit, more is dropped. The same holds if work `outlasts` a fault that lasts: as it ends, work
        must still be waiting, or it was not felt.
        """
        for _ in range(MAX_TRIES):
            folder = self.drop(images)
            moment = self.random.randrange(1, max(2, images // 2))
            self.wait(lambda folder=folder, moment=moment: self.finished(folder) >= moment, f"{moment} of {folder}")
            if self.finished(folder) >= images:
                continue
            if blow() is False:
                continue
            self._moved_at = time.monotonic()
            if not outlasts or self._is_under_way(folder, images):
                self.strikes += 1
                return
        raise AssertionError(f"{self.fault}: every strike came too late to hit anything")

    def strike_at(self, seam: str, *, images: int = IMAGES) -> None:
        """Let a process of the system kill itself at a seam (`seams/sitecustomize.py`)."""
        strike = self.system.home.parent / "strikes" / f"{seam}-{self.strikes}"

        def blow() -> bool:
            strike.touch()
            self.wait(
                lambda: not strike.exists() or self.finished() >= self.count,
                f"a process to come to the seam {seam!r}",
            )
            try:
                strike.unlink()
            except FileNotFoundError:  # by the process that ended itself
                return True
            return False

        self.strike(blow, images=images)

    def finished(self, folder: str = "") -> int:
        """How many of the trial's images have a final state; what is out of reach has none."""
        sql = "SELECT count(*) FROM results WHERE state <> 'waiting' AND path LIKE ?"
        try:
            return int(self.system.query(sql, f"{folder or self.name + '.'}%")[0][0])
        except DBAPIError:
            return 0

    def _is_under_way(self, folder: str, images: int) -> bool:
        """Of a folder that has finished images: none would mean that the database is not yet in reach again."""
        self.wait(lambda: self.finished(folder), "the database to be in reach")
        return 0 < self.finished(folder) < images

    def wait(self, condition: Callable[[], Any], what: str, bound: float = BOUND) -> None:
        """Until a condition holds, for at most `bound` seconds without a single image finished."""
        since = counted_at = time.monotonic()
        while not condition():
            time.sleep(POLL_SECONDS)
            now = time.monotonic()
            if now - counted_at < COUNT_SECONDS:
                continue
            finished, counted_at = self.finished(), now
            if finished > self._finished:
                self._longest = max(self._longest, now - self._moved_at) if self.strikes else 0.0
                self._finished, self._moved_at, since = finished, now, now
            assert now - since < bound, f"{self.fault}: waited {bound:.0f} s for {what}:\n{self.system.logs()}"
            assert self.system.process.poll() is None, f"the system ended:\n{self.system.logs()}"

    def end(self, quarantined: int = 0, *, at_least: int = MIN_IMAGES) -> Account:
        """Wait until every image is final, account for them, and hand the account to the table."""
        self.wait(lambda: self.finished() >= self.count, f"{self.count} images")
        self.wait(self._is_at_rest, "every job to be finished")  # a late second attempt is to be seen below
        mine = f"{self.name}.%"
        states = dict(self.system.query("SELECT state, count(*) FROM results WHERE path LIKE ? GROUP BY state", mine))
        history = self.system.query(
            "SELECT count(*), count(DISTINCT path), count(DISTINCT sha256) FROM results_history"
            " WHERE path LIKE ? AND state = 'done'",
            mine,
        )[0]
        done = states.get("done", 0)
        predictions = self.system.query(
            "SELECT count(*) FROM predictions WHERE sha256 IN (SELECT sha256 FROM sightings WHERE path LIKE ?)", mine
        )[0][0]
        account = Account(
            fault=self.fault,
            strikes=self.strikes,
            images=self.count,
            lost=self.count - sum(states.values()),
            doubled=max(*history, predictions) - done,
            wrongly_quarantined=states.get("quarantined", 0) - quarantined,
            longest=round(self._longest, 1),
        )
        self._tell(account)
        assert self.count >= at_least
        found = f"{account}: states {states}, rows, paths and contents of history {history}, predictions {predictions}"
        assert (account.lost, account.doubled, account.wrongly_quarantined) == (0, 0, 0), found
        assert min(history) == done == self.count - quarantined, (history, states)
        return account

    def break_off(self) -> None:
        """Tell what can be seen of a trial that did not come to its account: the table is to name it as well."""
        if not self._is_accounted:
            lost, longest = self.count - self.finished(), round(self._longest, 1)
            self._tell(Account(f"{self.fault}: broken off", self.strikes, self.count, lost, 0, 0, longest))

    def _tell(self, account: Account) -> None:
        self._is_accounted = True
        self._record("fault", asdict(account))

    def _is_at_rest(self) -> bool:
        jobs = "SELECT count(*) FROM jobs JOIN sightings ON sightings.id = sighting_id"
        return self.system.query(f"{jobs} WHERE jobs.state <> 'finished' AND path LIKE ?", f"{self.name}.%") == [(0,)]


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that can still do something."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextmanager
def struck(
    folder: Path,
    servers: Servers | None = None,
    *,
    pace: float = 0.02,
    flower: bool = False,
    trainer: bool = False,
    cwd: Path | None = None,
    **settings: str,
) -> Iterator[System]:
    """`up` in folder/home with quick settings, a linear version and the seams; `settings` are more variables.

    A home that is there already, from a system that ended, goes on.
    """
    if not (folder / "home").exists():
        make_linear_home(folder / "home", servers.database_url if servers else None)
        (folder / "strikes").mkdir()
    seams = {
        "PYTHONPATH": str(SEAMS),
        "STRIKES": str(folder / "strikes"),
        "PACE": str(pace),
        "HANG_SECONDS": setting(3),
    }
    variables = {**QUICK, "PNEUMOSCREEN_SWEEP_EVERY": "3", **seams, **settings}
    with running(folder, settings=variables, servers=servers, flower=flower, trainer=trainer, cwd=cwd) as system:
        yield system
