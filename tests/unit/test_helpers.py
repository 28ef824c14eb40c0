"""A folder is asked by helper processes, which are given up if it hangs, and noticed when it answers again."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from shared.base.errors import Changed, OutOfReach, Removed, Unsuitable
from shared.base.filesystem import MARKER
from shared.imaging import Limits
from shared.sources.answers import ask_all
from shared.sources.folder import helpers, looking, reach
from shared.sources.folder.source import FolderSource
from tests import pace
from tests.hanging_share import PretendedShare

SEAMS = Path(__file__).parents[1] / "faults" / "seams"
TOP = Path(__file__).parents[2]


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedShare]:
    """For all processes that are started meanwhile."""
    share = PretendedShare(tmp_path / "ward", tmp_path / "hang")
    (share.mount / MARKER).touch()
    monkeypatch.setenv("PYTHONPATH", str(SEAMS))
    monkeypatch.setenv("HANG", str(tmp_path / "hang"))
    monkeypatch.setattr(reach, "ASK_EVERY", 0.1)
    end_idle()
    yield share
    share.close()
    for asking in [thread for thread in threading.enumerate() if thread.name == "ask"]:  # that nobody waited for
        asking.join()
    end_idle()


def end_idle() -> None:
    while helpers.idle:
        helpers.idle.pop().end()


@pytest.fixture
def ward(share: PretendedShare) -> FolderSource:
    return FolderSource("ward", share.mount, timeout=1.0)


def put(ward: FolderSource, name: str, content: bytes = b"an image") -> str:
    (ward.root / name).write_bytes(content)
    found = ward.find(name)
    assert found is not None
    return found.revision


def wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + pace.seconds(seconds)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_helper_answers_as_the_folder_itself_does(ward: FolderSource) -> None:
    direct = FolderSource("ward", ward.root)
    for name, content in (("a.png", b""), ("caf\udce9.png", os.urandom(3_000_000))):
        revision = put(ward, name, content)
        assert ward.find(name) == direct.find(name)
        assert ward.read(name, revision, Limits()) == content
    (ward.root / "b").mkdir()
    put(ward, "b/c.png")
    for source in (ward, direct):
        assert source.find_below("") == ["a.png", "b/c.png", "caf\udce9.png"]
        assert source.find_below("a.png") is None
        assert (source.exists("a.png"), source.exists("d.png"), source.is_in_reach()) == (True, False, True)
    assert len(helpers.idle) == 1, "one after the other, by one process"


def test_what_is_wrong_with_an_image_reaches_the_one_who_asked(ward: FolderSource) -> None:
    revision = put(ward, "a.png")
    changed = put(ward, "a.png", b"another image")
    with pytest.raises(Changed) as caught:
        ward.read("a.png", revision, Limits())
    assert (caught.value.revision, caught.value.size) == (changed, 13)
    with pytest.raises(Unsuitable, match="max_bytes"):
        ward.read("a.png", changed, Limits(bytes=5))
    (ward.root / "a.png").unlink()
    with pytest.raises(Removed, match="the file is gone"):
        ward.read("a.png", changed, Limits())
    (ward.root / MARKER).unlink()
    with pytest.raises(OutOfReach, match="marker"):
        ward.read("a.png", changed, Limits())


def test_a_share_that_hangs_is_away_for_all_at_once_until_it_answers(ward: FolderSource, share: PretendedShare) -> None:
    revision = put(ward, "a.png")
    share.hang()
    with pytest.raises(OutOfReach, match=r"source ward .* does not answer: its share hangs"):
        ward.read("a.png", revision, Limits())
    began = time.monotonic()
    with pytest.raises(OutOfReach):
        ward.find("a.png")
    assert ward.exists("a.png") is None
    assert time.monotonic() - began < 1.0, "nobody waits for it a second time"
    assert ward.reach is not None
    assert ward.reach.hung > 0
    elsewhere = FolderSource("clinic", share.mount.parent, timeout=1.0)
    assert elsewhere.exists("hang"), "another source answers meanwhile"
    share.answer()
    wait(lambda: not ward.reach.is_away)
    assert ward.read("a.png", revision, Limits()) == b"an image"
    wait(lambda: ward.reach.hung == 0)


def test_no_more_helpers_hang_than_are_allowed_even_if_the_kernel_lets_go_of_none(
    ward: FolderSource, share: PretendedShare, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = replace(ward, timeout=0.3)
    ward.is_in_reach()
    monkeypatch.setattr(helpers.Process, "kill", lambda _: None)
    share.hang()
    with pytest.raises(OutOfReach):
        ward.is_in_reach()
    assert ward.reach is not None
    wait(lambda: ward.reach.hung == reach.MAX_HUNG)
    children = len(psutil.Process().children())
    time.sleep(1.0)
    assert (ward.reach.hung, len(psutil.Process().children())) == (reach.MAX_HUNG, children)
    monkeypatch.undo()
    share.answer()
    wait(lambda: not ward.reach.is_away)
    wait(lambda: ward.reach.hung == 0)


def test_a_helper_that_is_killed_amid_a_question_costs_nothing(ward: FolderSource, share: PretendedShare) -> None:
    revision = put(ward, "a.png")
    (busy,) = helpers.idle
    share.hang()
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(ward.read("a.png", revision, Limits())))
    asking.start()
    wait(lambda: not helpers.idle)
    share.answer()
    busy.process.kill()
    asking.join()
    assert answers == [b"an image"]
    helpers.idle[0].process.kill()
    assert ward.read("a.png", revision, Limits()) == b"an image", "as one that died while it was idle"


def test_a_service_that_runs_on_during_an_upgrade_says_so_and_takes_no_answer_of_the_new_version(
    ward: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = put(ward, "a.png")
    end_idle()
    monkeypatch.setattr(helpers, "__version__", "0.0.1")
    with pytest.raises(OutOfReach, match="upgraded while it ran: start this service anew"):
        ward.read("a.png", revision, Limits())


def test_a_slow_share_that_makes_progress_is_waited_for(ward: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOW_READ", "0.6")
    end_idle()
    content = os.urandom(700_000)
    revision = put(ward, "a.png", content)
    assert ward.read("a.png", revision, Limits()) == content
    assert not ward.reach.is_away


def test_signals_to_a_whole_group_of_processes_cost_no_helper_and_its_parents_end_does(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from shared.sources.folder.source import FolderSource\n"
        "from shared.sources.folder import helpers\n"
        "FolderSource('ward', Path('/'), timeout=1.0).is_in_reach()\n"
        "print(helpers.idle[0].process.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-P", "-c", code]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path)
    assert parent.stdout is not None
    helper = psutil.Process(int(parent.stdout.readline()))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        helper.send_signal(number)
    time.sleep(0.2)
    assert helper.is_running()
    parent.kill()
    parent.communicate()
    psutil.wait_procs([helper], timeout=30)
    assert not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE


def test_all_sources_are_asked_in_the_time_that_one_takes(
    ward: FolderSource, share: PretendedShare, tmp_path: Path
) -> None:
    others = {str(number): FolderSource(str(number), tmp_path, timeout=1.0) for number in range(3)}
    share.hang()
    hanging = {f"ward {number}": FolderSource(f"ward {number}", share.mount, timeout=30.0) for number in range(3)}
    limit = pace.span(5.0)  # in which the helpers start that ask the others
    began = time.monotonic()
    answers = ask_all({**hanging, **others}, lambda source: source.ask(looking.exists, "hang", MARKER), limit)
    assert answers == dict.fromkeys(others, True)
    assert time.monotonic() - began < 3 * limit, "the three that hang were waited for one after the other"
    with pytest.raises(NotADirectoryError):
        ask_all(others, lambda source: next((source.root / "hang").iterdir()), 2.0)


LIGHT = "import sys, shared.sources.folder.helper; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def test_a_helper_starts_without_what_it_does_not_need() -> None:
    run = subprocess.run([sys.executable, "-P", "-c", LIGHT], capture_output=True, text=True, check=True)
    heavy = {"pydantic", "sqlalchemy", "numpy", "watchdog", "psutil", "subprocess", "asyncio", "redis"}
    assert not heavy & set(run.stdout.split())
