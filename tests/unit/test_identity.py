"""Hosts that see one share differently screen each file once, and a file replaced within its second is noticed still.

A host's view is a real folder of its own: the same files with the same whole seconds, but other inodes and fractions.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from queries import needs
from queries.counts import count
from shared.base import filesystem, host
from shared.base.filesystem import MARKER
from shared.base.lanes import Lane
from shared.base.settings import load
from shared.base.source_settings import FolderSettings
from shared.database import Database, Job, Sighting
from shared.ledger import recover, send
from shared.ledger.knowledge import MAX_CHECKS
from shared.ledger.register import register, unknown
from shared.ledger.work import MAX_ATTEMPTS
from shared.sources.folder.facts import SECOND, Facts
from shared.sources.folder.source import FolderSource
from shared.sources.folder.sweep import sweep
from tests.models import go_live, make_linear_version
from tests.unit.steps import jobs, rows, sightings
from tests.unit.test_screening import png
from worker.process import WorkerProcess
from worker.screening import screen_message


@dataclass
class Host:
    """A host that sees a share below `folder`, with a producer and, if it has a process, a worker."""

    name: str
    folder: Path
    database: Database
    monkeypatch: pytest.MonkeyPatch
    process: WorkerProcess | None = None

    def be(self) -> None:
        self.monkeypatch.setattr(host, "identity", lambda: self.name)

    def sweep(self) -> list[int]:
        """What its producer does with all that it finds; returns the new sightings."""
        self.be()
        with self.database.read() as session:
            found = unknown(session, "ward", [found for found, _ in sweep(self.folder)])
        with self.database.write() as session:
            return register(session, "ward", "routine", found, datetime.now(UTC))

    def screen(self, *lanes: Lane, later: timedelta = timedelta(0)) -> list[str]:
        """What its worker does with one message of each lane."""
        self.be()
        assert self.process is not None
        said = []
        for lane in lanes or (Lane.ROUTINE, Lane.BACKGROUND):
            with self.database.write() as session:
                message = send.take(session, lane, 1000, datetime.now(UTC) + later)
            if message is not None:
                said.append(screen_message(self.process, message.encode()))
        return said


Join = Callable[..., Host]


@pytest.fixture
def join(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Join]:
    """Makes hosts, each with a folder of its own."""
    go_live(database, make_linear_version(tmp_path / "models", "v1"))
    processes = []

    def make(name: str) -> Host:
        folder = tmp_path / name
        folder.mkdir()
        (folder / MARKER).touch()
        url = database.engine.url.render_as_string(hide_password=False)
        settings = load(tmp_path, database_url=url, sources={"ward": FolderSettings(path=folder)}, decode_threads=2)
        processes.append(WorkerProcess(settings))
        return Host(name, folder, database, monkeypatch, processes[-1])

    yield make
    for process in processes:
        process.stop()
        process.threads.shutdown()
        process.database.close()


def put(file: Path, data: bytes, second: int = 1_700_000_000, fraction: int = 0) -> Path:
    """Another file in its place, as a copy that keeps the time."""
    aside = file.with_name(f"{file.name}.part")
    aside.write_bytes(data)
    os.utime(aside, ns=(second * SECOND + fraction,) * 2)
    return aside.rename(file)


def bytes_of(seed: int) -> bytes:
    """An image, as long as every other one."""
    return png(seed).ljust(8000, b"\0")


def see(folder: Path, view: Path, fraction: int, by: int = 0) -> None:
    """Give a view the files of a folder: new inodes, other fractions, and seconds that differ `by` so many."""
    for file in folder.glob("*.png"):
        aside = shutil.copyfile(file, view / f"{file.name}.part")
        os.utime(aside, ns=((int(file.stat().st_mtime) + by) * SECOND + fraction,) * 2)
        aside.rename(view / file.name)


def states(database: Database) -> list[tuple[str, str]]:
    return [(row.path, row.state) for row in sightings(database)]


def test_hosts_that_see_other_inodes_and_fractions_of_a_second_screen_each_file_once(
    join: Join, database: Database
) -> None:
    one, two = join("one"), join("two")
    for number in range(10):
        put(one.folder / f"{number}.png", bytes_of(number), fraction=123_456_789)
    see(one.folder, two.folder, 0)
    assert len(one.sweep()) == 10
    assert two.screen() == ["10 images: 10 done"]
    for _ in range(5):
        see(one.folder, two.folder, 0)
        assert (one.sweep(), two.sweep(), one.screen(), two.screen()) == ([], [], [], [])
    assert states(database) == [(f"{number}.png", "done") for number in sorted(range(10), key=_order(database))]
    assert len(jobs(database)) == 10


def _order(database: Database) -> Callable[[int], int]:
    order = {row.path: row.id for row in sightings(database)}
    return lambda number: order[f"{number}.png"]


@pytest.fixture
def one(join: Join) -> Host:
    """A host with one image that was screened."""
    one = join("one")
    put(one.folder / "a.png", bytes_of(1))
    one.sweep()
    assert one.screen() == ["1 images: 1 done"]
    return one


def test_a_file_replaced_within_its_second_by_one_of_its_size_is_screened_and_the_history_stays(
    one: Host, database: Database
) -> None:
    (before,) = rows(database)
    put(one.folder / "a.png", bytes_of(2))
    assert one.sweep() == []
    assert [(job.is_check, job.lane) for job in jobs(database)] == [(False, "routine"), (True, "background")]
    assert one.screen() == ["1 images: 1 checked"]
    assert one.screen() == ["1 images: 1 done"]
    old, new = sightings(database)
    assert (old.state, new.state, old.revision) == ("done", "done", new.revision)
    (after,) = rows(database)
    assert after["sha256"] != before["sha256"]
    assert before["sha256"] in {row["sha256"] for row in rows(database, "results_history")}
    assert (one.sweep(), one.screen()) == ([], [])


def test_a_file_with_other_hints_and_the_same_content_is_read_once_and_its_result_untouched(
    one: Host, database: Database
) -> None:
    before, (seen, *_) = rows(database), sightings(database)
    put(one.folder / "a.png", bytes_of(1), fraction=5)
    one.sweep()
    with database.read() as session:
        assert count(session).waiting == 0
    assert rows(database) == before
    assert one.screen() == ["1 images: 1 checked"]
    assert rows(database) == before
    (after,) = sightings(database)
    assert (after.checks, after.hint != seen.hint) == (1, True)
    assert (one.sweep(), one.screen()) == ([], [])


def test_where_hints_are_made_up_as_it_goes_checks_come_to_an_end(one: Host, database: Database) -> None:
    said = []
    for fraction in range(3 * MAX_CHECKS):
        put(one.folder / "a.png", bytes_of(1), fraction=fraction)
        one.sweep()
        said += one.screen()
    assert said == ["1 images: 1 checked"] * MAX_CHECKS
    assert states(database) == [("a.png", "done")]


def test_another_hosts_hint_is_not_compared(one: Host, join: Join, database: Database) -> None:
    two = join("two")
    see(one.folder, two.folder, 7)
    assert (two.sweep(), two.screen()) == ([], [])
    assert len(jobs(database)) == 1


def test_a_file_that_changes_while_its_check_is_under_way_is_checked_again(one: Host, database: Database) -> None:
    put(one.folder / "a.png", bytes_of(1), fraction=1)
    one.sweep()
    put(one.folder / "a.png", bytes_of(2), fraction=2)
    one.sweep()
    assert sum(job.is_check for job in jobs(database)) == 1
    put(one.folder / "a.png", bytes_of(1), fraction=3)  # what this check reads
    one.screen()
    put(one.folder / "a.png", bytes_of(2), fraction=2)
    one.sweep()
    assert one.screen() == ["1 images: 1 checked"]
    assert one.screen() == ["1 images: 1 done"]


def test_a_file_that_waits_is_not_checked(join: Join, database: Database) -> None:
    one = join("one")
    put(one.folder / "a.png", bytes_of(1))
    one.sweep()
    put(one.folder / "a.png", bytes_of(2), fraction=1)
    assert one.sweep() == []
    assert len(jobs(database)) == 1


@pytest.mark.parametrize("data", [bytes_of(2), b"damaged".ljust(8000, b"\0")], ids=["sound", "damaged otherwise"])
def test_a_quarantined_file_replaced_within_its_second_is_screened(join: Join, database: Database, data: bytes) -> None:
    one = join("one")
    put(one.folder / "a.png", b"\0" * 8000)
    one.sweep()
    assert one.screen() == ["1 images: 1 quarantined"]
    put(one.folder / "a.png", data, fraction=1)
    one.sweep()
    assert one.screen() == ["1 images: 1 checked"]
    one.screen()
    old, new = sightings(database)
    assert (old.state, old.sha256 != new.sha256) == ("quarantined", True)
    assert new.state != "waiting"


def test_a_quarantined_file_that_nobody_read_is_screened_anew_but_not_for_ever(join: Join, database: Database) -> None:
    one = join("one")
    assert one.process is not None
    one.process.settings = one.process.settings.model_copy(update={"max_bytes": 1000})
    new = 0
    for fraction in range(3 * MAX_CHECKS):
        put(one.folder / "a.png", bytes_of(1), fraction=fraction)
        new += len(one.sweep())
        one.screen()
    assert new == 1 + MAX_CHECKS
    assert {state for _, state in states(database)} == {"quarantined"}


def test_a_file_that_is_preallocated_with_its_final_time_is_looked_at_again_when_it_is_filled(
    join: Join, database: Database
) -> None:
    """Its size and its time never change: only the change time tells of the writes."""
    one, file = join("one"), bytes_of(1)
    path = put(one.folder / "a.png", b"\0" * len(file))
    one.sweep()
    assert one.screen() == ["1 images: 1 quarantined"]
    with path.open("r+b") as open_file:
        open_file.write(file)
    os.utime(path, ns=(1_700_000_000 * SECOND,) * 2)
    one.sweep()
    one.screen()
    assert one.screen() == ["1 images: 1 done"]
    assert [(row["path"], row["state"]) for row in rows(database)] == [("a.png", "done")]


def test_a_check_of_a_file_that_is_gone_ends_and_the_result_stays(one: Host, database: Database) -> None:
    before = rows(database)
    put(one.folder / "a.png", bytes_of(2), fraction=1)
    one.sweep()
    (one.folder / "a.png").unlink()
    assert one.screen() == ["1 images: 1 checked"]
    assert rows(database) == before
    assert {job.state for job in jobs(database)} == {"finished"}


def test_a_check_of_a_file_out_of_reach_is_put_off_ends_in_time_and_needs_nobody(one: Host, database: Database) -> None:
    before = rows(database)
    put(one.folder / "a.png", bytes_of(2), fraction=1)
    one.sweep()
    away = one.folder.rename(one.folder.with_name("away"))
    for attempt in range(MAX_ATTEMPTS):
        later = timedelta(hours=1 + attempt)
        said = one.screen(Lane.BACKGROUND, later=later)
        with database.read() as session:
            assert needs.put_off(session, datetime.now(UTC) + later) == ([], [])
    assert said == ["1 images: 1 checked"]
    away.rename(one.folder)
    assert rows(database) == before
    one.sweep()
    assert one.screen() == ["1 images: 1 checked"]
    assert one.screen() == ["1 images: 1 done"]


def test_processes_that_die_of_a_check_take_no_result_away(one: Host, database: Database) -> None:
    before = rows(database)
    put(one.folder / "a.png", bytes_of(2), fraction=1)
    one.sweep()
    with database.write() as session:
        check = session.scalars(select(Job).where(Job.is_check)).one()
        check.state, check.lane, check.deaths = "claimed", "suspect", recover.MAX_DEATHS - 1
        check.lease_until = datetime.now(UTC) - timedelta(seconds=1)
    with database.write() as session:
        assert recover.recover_claimed(session, datetime.now(UTC), 60.0)[1] == 0
    assert rows(database) == before
    assert {job.state for job in jobs(database)} == {"finished"}


def test_a_rescreen_that_meets_another_content_leaves_the_result_to_what_it_was_of(
    one: Host, database: Database
) -> None:
    (before,) = rows(database)
    put(one.folder / "a.png", bytes_of(2))
    with database.write() as session:
        sighting = session.scalars(select(Sighting)).one()
        sighting.hint = None  # it was registered by an older version
        session.add(Job(sighting_id=sighting.id, lane="background", state="unsent", created_at=datetime.now(UTC)))
    assert one.screen(Lane.BACKGROUND) == ["1 images: 1 checked"]
    assert one.screen() == ["1 images: 1 done"]
    old, new = sightings(database)
    assert (old.sha256, old.state) == (before["sha256"], "done")
    assert new.sha256 != old.sha256
    assert "changed since it was screened" in (jobs(database)[1].problem or "")


@pytest.mark.parametrize("workers", [["two"], ["one", "two"]], ids=["one worker", "workers on both"])
def test_hosts_that_disagree_about_the_second_itself_come_to_an_end(
    join: Join, database: Database, workers: list[str]
) -> None:
    hosts = {name: join(name) for name in ("one", "two")}
    for number in range(3):
        put(hosts["one"].folder / f"{number}.png", bytes_of(number))
    see(hosts["one"].folder, hosts["two"].folder, 0, by=-1)
    rounds, counts = 40, []
    for number in range(rounds):
        for each in hosts.values():
            each.sweep()
        hosts[workers[number % len(workers)]].screen(later=timedelta(hours=1 + number))
        counts.append(len(sightings(database)))
    assert counts[-1] == counts[rounds // 2], counts
    assert counts[-1] <= 3 * 10
    assert {row["state"] for row in rows(database)} == {"done"}


def test_a_file_that_is_replaced_and_restored_again_and_again_is_screened_each_time(one: Host) -> None:
    """Of one size, and each with its own second: only their contents tell them from one file seen by two hosts."""
    for number in range(8):
        put(one.folder / "a.png", bytes_of(number % 2 + 2), second=1_700_000_001 + number % 2)
        assert len(one.sweep()) == 1
        assert one.screen() == ["1 images: 1 done"]


def test_who_is_asked_to_screen_a_file_with_another_hint_does_so_at_once(one: Host, database: Database) -> None:
    put(one.folder / "a.png", bytes_of(2))
    found = FolderSource("ward", one.folder).find("a.png")
    assert found is not None
    with database.write() as session:
        assert len(register(session, "ward", "routine", [found], datetime.now(UTC), is_asked_for=True)) == 1
    assert one.screen() == ["1 images: 1 done"]


def test_of_two_producers_that_see_a_changed_hint_at_once_one_sends_a_check(one: Host, database: Database) -> None:
    put(one.folder / "a.png", bytes_of(2))
    found = [found for found, _ in sweep(one.folder)]
    for _ in range(2):
        with database.write() as session:
            register(session, "ward", "routine", found, datetime.now(UTC))
    assert sum(job.is_check for job in jobs(database)) == 1


@pytest.mark.parametrize(
    ("kind", "is_own"), [("ext4", True), ("cifs", False), ("fuse.sshfs", False), ("fuse.shfs", False), ("nfs4", False)]
)
def test_inodes_and_change_times_that_a_file_system_may_make_up_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_own: bool
) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    stat = (tmp_path / "a.png").stat()
    device = f"{os.major(stat.st_dev)}:{os.minor(stat.st_dev)}"
    (tmp_path / "mountinfo").write_text(
        f"30 1 0:9999 / /proc rw - proc proc rw\n31 1 {device} / /mnt rw,relatime shared:1 - {kind} //nas/share rw\n"
    )
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "mountinfo")
    filesystem.has_own_numbers.cache_clear()
    facts = Facts.of(stat)
    filesystem.has_own_numbers.cache_clear()
    assert (facts.inode, facts.ctime_ns) == ((stat.st_ino, stat.st_ctime_ns) if is_own else (0, 0))


def test_a_host_is_the_same_for_all_its_processes_and_another_than_its_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = [sys.executable, "-c", "from shared.base import host; print(host.identity())"]
    asked = subprocess.run(ask, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    host.identity.cache_clear()
    mine = host.identity()
    assert asked.stdout.strip() == mine
    monkeypatch.setattr(socket, "gethostname", lambda: "a-clone")
    host.identity.cache_clear()
    assert host.identity() != mine
    host.identity.cache_clear()
