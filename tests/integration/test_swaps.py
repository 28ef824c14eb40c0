"""Versions replace each other while images flow: nothing is lost or mixed, and what is broken never serves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from actions import promotion
from shared import database
from shared.database import Database
from shared.models.engines import LINEAR_FILE
from tests.faults.trial import IS_LONG, KINDS
from tests.models import make_linear_version, promote
from tests.plan import short
from tests.servers import Servers
from tests.system import System, distinct, make_linear_home, running, specimens

SWAPS, EARLY = (20, 5) if IS_LONG else (6, 2)
"""Promotions in a row, and after how many of them memory is measured first."""
IMAGES = 10
"""So many are dropped with each promotion, while those before them are still under way."""
MAX_GROWTH = 30e6


class Site:
    """A running system, its home, and what was dropped and promoted so far."""

    def __init__(self, home: Path, ledger: Database) -> None:
        self.home, self.ledger = home, ledger
        self.promoted = ["linear-1"]
        self.images = 0
        self.system: System

    def go_live(self, name: str, *, is_broken: bool = False) -> None:
        """Publish and promote a version; a broken one was damaged after it was verified."""
        source = make_linear_version(self.home.parent / "made", name, seed=len(self.promoted))
        promotion.publish(self.ledger, self.home / "models", source, datetime.now(UTC))
        if is_broken:
            (self.home / "models" / name / LINEAR_FILE).write_bytes(b"damaged")
        else:
            self.promoted.append(name)
        promote(self.ledger, name, "Ada", datetime.now(UTC))

    def drop(self) -> None:
        source = next(file for file in specimens() if file.suffix == ".jpeg")
        for _ in range(IMAGES):
            distinct(source, self.system.inbox / f"{self.images:04d}.jpeg", self.images)
            self.images += 1

    def all_done(self) -> None:
        self.system.wait_for_states(done=self.images)

    def versions(self) -> set[str]:
        return {version for (version,) in self.system.query("SELECT DISTINCT model_version FROM predictions")}

    def wait_for(self, version: str) -> None:
        self.system.wait(lambda: version in self.versions(), f"{version} to serve")

    def wait_until_held(self, version: str) -> None:
        """Until every worker process says so, with no image to screen."""
        held = "SELECT DISTINCT model_version FROM workers"
        self.system.wait(lambda: self.system.query(held) == [(version,)], f"the workers to hold {version}")

    def memory(self) -> dict[int, int]:
        pids = [pid for (pid,) in self.system.query("SELECT pid FROM workers")]
        return {pid: psutil.Process(pid).memory_info().rss for pid in pids}

    def errors(self) -> list[str]:
        return [error for (error,) in self.system.query("SELECT error FROM workers WHERE error IS NOT NULL")]


@contextmanager
def made(folder: Path, servers: Servers | None = None) -> Iterator[Site]:
    url = servers.database_url if servers else f"sqlite:///{folder / 'home' / 'pneumoscreen.db'}"
    make_linear_home(folder / "home", url)
    ledger = database.connect(url)
    yield Site(folder / "home", ledger)
    ledger.close()


@pytest.fixture(scope="module", params=short(["postgresql"], KINDS))
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_servers: Callable[[str], Servers | None],
) -> Iterator[Site]:
    folder, servers = tmp_path_factory.mktemp("swaps"), make_servers(request.param)
    with made(folder, servers) as found, running(folder, servers=servers) as found.system:
        yield found


def test_many_versions_replace_each_other_under_load_and_nothing_is_lost_or_mixed(site: Site) -> None:
    early: dict[int, int] = {}
    for swap in range(1, SWAPS + 1):
        site.drop()
        site.go_live(f"swap-{swap:02d}")
        site.drop()
        site.wait_for(f"swap-{swap:02d}")
        if swap == EARLY:
            early = site.memory()
    site.all_done()
    late = site.memory()
    assert late.keys() == early.keys(), "a worker process died"
    for pid, used in late.items():
        assert used - early[pid] < MAX_GROWTH, f"process {pid} grew by {(used - early[pid]) / 1e6:.0f} MB"
    assert set(site.promoted[1:]) <= site.versions() <= set(site.promoted)
    counts = site.system.query("SELECT count(*), count(DISTINCT sha256) FROM predictions")
    assert counts == [(site.images, site.images)]
    mixed = """
        SELECT j.sent_at, j.attempt FROM jobs j
        JOIN sightings s ON s.id = j.sighting_id JOIN predictions p ON p.id = s.prediction_id
        GROUP BY j.sent_at, j.attempt HAVING count(DISTINCT p.model_version) > 1
    """
    assert site.system.query(mixed) == []  # the jobs of one message were sent in one moment
    assert site.errors() == []


def test_a_version_is_taken_and_a_broken_one_refused_and_told_while_no_image_comes(site: Site) -> None:
    site.go_live("idle")
    site.wait_until_held("idle")
    site.go_live("idle-broken", is_broken=True)
    site.system.wait(site.errors, "the worker to say so")
    told = site.system.command("status")
    assert told.returncode == 1
    for words in ("idle-broken is refused", "is damaged", "idle goes on serving", "pneumoscreen models rollback"):
        assert words in told.stdout, told.stdout
    back = site.system.command("models", "rollback", "--by", "Ada", "--reason", "it does not load")
    assert back.returncode == 0, back.stderr
    site.system.wait(lambda: not site.errors(), "the error to be over")
    site.wait_until_held("idle")
    assert site.system.command("status").returncode == 0


def test_a_broken_version_never_serves_until_a_good_one_comes(site: Site) -> None:
    site.drop()
    site.all_done()
    before = site.versions()
    site.go_live("broken", is_broken=True)
    site.drop()
    site.all_done()
    assert site.versions() == before
    site.system.wait(site.errors, "the worker to say so")
    assert "broken is refused" in site.system.command("status").stdout
    site.go_live("good")
    site.drop()
    site.wait_for("good")
    site.system.wait(lambda: not site.errors(), "the error to be over")
    site.all_done()


def test_a_rescreen_runs_beside_the_live_version_and_the_history_stays(site: Site) -> None:
    site.drop()
    site.all_done()
    (history,) = site.system.query("SELECT count(*) FROM results_history")[0]
    site.go_live("newer")
    (site.system.inbox / "0000.jpeg").unlink()
    told = site.system.command("rescreen", "--model", "newer", "--by", "Ada")
    assert told.returncode == 0, told.stderr
    is_over = "SELECT count(*) FROM jobs WHERE state <> 'finished'"
    site.system.wait(lambda: site.system.query(is_over) == [(0,)], "the rescreen to end")
    site.all_done()
    kept = site.system.query("SELECT path FROM results WHERE model_version <> 'newer'")
    assert kept == [("0000.jpeg",)]  # its file is gone, and its result stays
    assert site.system.query("SELECT count(*) FROM results_history") == [(history + site.images - 1,)]


@pytest.mark.soak  # takes another system
def test_a_cold_start_under_a_broken_live_version_uses_the_one_before_it(tmp_path: Path) -> None:
    with made(tmp_path) as cold:
        cold.go_live("good")
        cold.go_live("broken", is_broken=True)
        with running(tmp_path) as cold.system:
            cold.drop()
            cold.all_done()
            assert cold.versions() == {"good"}
            told = cold.system.command("status")
            assert told.returncode == 1
            assert "broken" in told.stdout
