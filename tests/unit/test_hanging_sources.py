"""What asks sources once, as `status`, `up` and `screen` do, has its answer soon where a share hangs or is dead."""

import queue
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from actions import submission
from local import inbox
from queries import needs
from queries.needs import sources_out_of_reach
from shared import sources
from shared.base import settings
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.database import Database
from shared.sources import Source, answers, links
from shared.sources.answers import ask_all
from tests import pace
from tests.hanging_share import HangingShare, PretendedShare
from tests.unit.test_helpers import share, wait

__all__ = ["share"]
TOP = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which a test counts as held up; the calls that hang are given up far later."""


@pytest.fixture
def chosen(share: PretendedShare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A share that hangs, beside a folder that is well."""
    monkeypatch.setattr(links, "LINK_SECONDS", 0.5)
    monkeypatch.setattr(inbox, "ANSWER_SECONDS", 0.5)
    (tmp_path / "clinic").mkdir()
    (tmp_path / "clinic" / MARKER).touch()
    (tmp_path / "clinic" / "a.png").write_bytes(b"an image")
    folders = {"ward": {"path": share.mount}, "clinic": {"path": tmp_path / "clinic"}}
    share.hang()
    began = time.monotonic()
    yield settings.load(tmp_path / "home", sources=folders, source_timeout=300.0)
    assert time.monotonic() - began < PATIENCE


def test_status_says_which_source_hangs_and_that_no_other_does(chosen: Settings, share: PretendedShare) -> None:
    (need,) = sources_out_of_reach(chosen)
    assert need.startswith(f"the source ward ({share.mount}) does not answer this host within")


def test_sources_ends_on_a_signal_while_it_waits_for_a_share_and_its_helper_with_it(
    share: PretendedShare, migrated_file: Path, tmp_path: Path
) -> None:
    """As any command that asks sources once: `status`, too."""
    shutil.copyfile(migrated_file, tmp_path / "pneumoscreen.db")
    (tmp_path / "pneumoscreen.toml").write_text(f'[sources.ward]\npath = "{share.mount}"\n')
    share.hang()
    command = subprocess.Popen(
        [sys.executable, "-m", "cli", "sources", "--home", tmp_path], cwd=TOP, stdout=subprocess.DEVNULL
    )
    wait(lambda: bool(psutil.Process(command.pid).children()) or command.poll() is not None)
    (helper,) = psutil.Process(command.pid).children()
    command.send_signal(signal.SIGTERM)
    assert command.wait(PATIENCE) == -signal.SIGTERM
    wait(lambda: not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE)


def test_ten_sources_that_hang_are_waited_for_together_and_no_longer_than_one(
    chosen: Settings, share: PretendedShare, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = {f"ward-{number}": {"path": share.mount / f"{number}"} for number in range(10)}
    many = settings.load(chosen.home, sources={**hanging, "clinic": chosen.sources["clinic"]}, source_timeout=300.0)
    waits: list[tuple[int, float]] = []

    def ask_and_note(asked: dict[str, Source], question: Callable[[Source], bool], within: float) -> dict[str, bool]:
        waits.append((len(asked), within))
        return ask_all(asked, question, within)

    assert needs.SOURCE_SECONDS <= 5.0
    patience = pace.span(needs.SOURCE_SECONDS)  # ten processes take longer to start where the processor is busy
    monkeypatch.setattr(needs, "SOURCE_SECONDS", patience)
    monkeypatch.setattr(needs, "ask_all", ask_and_note)
    found = list(needs.sources_out_of_reach(many))
    assert [need.partition(" (")[0] for need in found] == [f"the source {name}" for name in hanging]
    assert waits == [(11, patience)], "one wait for all"


def test_one_deadline_holds_for_all_sources_however_many_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only waits move on."""
    clock, waited = [0.0], [0.0]

    class Unanswered(queue.SimpleQueue[object]):
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            assert timeout is not None
            clock[0] += timeout
            waited[0] += timeout
            raise queue.Empty

    queues = iter([queue.SimpleQueue, Unanswered])
    made = SimpleNamespace(SimpleQueue=lambda: next(queues)(), Empty=queue.Empty)
    monkeypatch.setattr(answers, "queue", made)
    monkeypatch.setattr(answers, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    idle = SimpleNamespace(Thread=lambda **_: SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(answers, "threading", idle)
    assert ask_all(dict.fromkeys(map(str, range(100))), lambda _: True, 3.0) == {}
    assert waited[0] == pytest.approx(3.0)


def test_links_are_followed_where_sources_answer(chosen: Settings) -> None:
    links.check_links(chosen)


def test_an_inbox_on_a_share_that_hangs_keeps_nothing_from_starting(chosen: Settings, share: PretendedShare) -> None:
    with_inbox = inbox.with_inbox(settings.load(chosen.home), share.mount)
    inbox.make(with_inbox)
    assert with_inbox.sources["inbox"].path == share.mount


def test_what_is_submitted_from_a_share_that_hangs_is_refused_with_its_name(
    chosen: Settings, share: PretendedShare, tmp_path: Path
) -> None:
    known = sources.build(settings.load(chosen.home, sources=chosen.sources, source_timeout=1.0))
    found = submission.find_files(known, [share.mount / "a.png", tmp_path / "clinic"])
    assert found.files == [tmp_path / "clinic" / "a.png"]
    (refusal,) = submission.refusals(found)
    assert refusal.startswith(f"{share.mount / 'a.png'}: the source ward ({share.mount}) does not answer")


def test_an_inbox_on_a_dead_mount_keeps_nothing_from_starting(database: Database, tmp_path: Path) -> None:
    """Each call on it fails with ENOTCONN, as after the crash of a FUSE file system."""
    dead = HangingShare(tmp_path / "behind", tmp_path / "share")
    try:
        dead.die()
        with_inbox = inbox.with_inbox(settings.load(tmp_path), dead.mount)
        (tmp_path / "inbox.path").write_text(str(tmp_path / "elsewhere"))
        inbox.remember(with_inbox, database)
        inbox.make(with_inbox)
        (need,) = sources_out_of_reach(with_inbox)
        assert need == f"the source inbox ({dead.mount}) is out of reach of this host: is it mounted?"
    finally:
        dead.close()
