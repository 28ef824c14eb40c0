"""What `up` does before it starts its programs: which folders it watches, and under which names."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local import services, supervisor
from shared.base import home as home_folder
from shared.base import settings
from shared.base.errors import WrongSettings
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.database import Database
from shared.ledger.register import register
from tests.models import go_live, make_linear_version
from tests.unit.steps import file

Start = Callable[..., Settings]


@pytest.fixture
def start(database: Database, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """`up` in the home `tmp_path`, with a program that does nothing, and its end; returns the settings that it found.

    With what was registered in a folder before, as a producer does.
    """
    monkeypatch.setenv("PNEUMOSCREEN_BROKER_URL", redis_url)
    monkeypatch.setattr(supervisor, "_supervise", idle)
    go_live(database, make_linear_version(tmp_path / "models", "linear-1"))

    def run(inbox: Path | None = None, *dropped: str) -> Settings:
        with supervisor.run(tmp_path, inbox, None) as running, database.write() as session:
            found = [file(name, second=number) for number, name in enumerate(dropped, start=1)]
            register(session, "inbox", "routine", found, datetime.now(UTC))
            return running.settings

    return run


def idle(*_: Any, **__: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def refuses(start: Start, inbox: Path | None = None, *, saying: str) -> None:
    with pytest.raises(WrongSettings, match=saying) as caught:
        start(inbox)
    assert caught.value.exit_code == 2


def test_a_second_folder_does_not_take_the_place_of_the_inbox(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "x2", "only.jpeg")
    refuses(start, tmp_path / "x3", saying=f"inbox of {tmp_path} was {tmp_path}/x2 so far.*as {tmp_path}/x3,.*{MARKER}")
    assert not (tmp_path / "x3").exists()
    assert not home_folder.announcement(tmp_path).exists(), "a second shell would look into it"
    refuses(start, saying="was .*/x2 so far.*as .*/inbox,")
    assert start(tmp_path / "x2").sources["inbox"].path == tmp_path / "x2"


def test_an_inbox_that_a_setting_names_is_remembered_too(start: Start, tmp_path: Path) -> None:
    toml = tmp_path / "pneumoscreen.toml"
    toml.write_text(f'[sources.inbox]\npath = "{tmp_path}/x2"\n')
    start(None, "only.jpeg")
    toml.write_text(f'[sources.inbox]\npath = "{tmp_path}/x3"\n')
    refuses(start, saying="was .*/x2 so far")
    toml.write_text(f'[sources.ward]\npath = "{tmp_path}/x3"\n')
    assert set(start().sources) == {"ward"}
    refuses(start, tmp_path / "x4", saying="was .*/x2 so far")


def test_an_inbox_that_was_moved_with_its_marker_is_watched_on_and_remembered(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "x2", "only.jpeg")
    (tmp_path / "x2" / MARKER).touch()
    (tmp_path / "x2").rename(tmp_path / "x3")
    assert start(tmp_path / "x3").sources["inbox"].path == tmp_path / "x3"
    (tmp_path / "x3" / MARKER).unlink()
    start(tmp_path / "x3")
    refuses(start, tmp_path / "x2", saying="was .*/x3 so far")


def test_another_folder_with_a_marker_of_its_own_does_not_take_the_place_of_the_inbox(
    start: Start, tmp_path: Path
) -> None:
    start(tmp_path / "x2", "only.jpeg")
    for name in ("x2", "x3"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / MARKER).touch()
    refuses(start, tmp_path / "x3", saying="was .*/x2 so far")


def test_an_inbox_without_results_may_be_replaced(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "x2")
    assert start(tmp_path / "x3").sources["inbox"].path == tmp_path / "x3"


def test_an_inbox_whose_share_is_missing_is_watched_all_the_same(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "x2", "only.jpeg")
    (tmp_path / "x2").rmdir()
    start(tmp_path / "x2")
    assert list((tmp_path / "x2").iterdir()) == []


def test_an_inbox_named_by_another_path_is_the_same_one(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "x2", "only.jpeg")
    monkeypatch.chdir(tmp_path)
    start(Path("x2"))
    (tmp_path / "link").symlink_to("x2")
    start(tmp_path / "link")
    start(tmp_path / "models" / ".." / "x2")
    refuses(start, Path("x3"), saying="so far")


def test_a_home_from_before_goes_on_and_its_inbox_is_remembered(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "x2", "only.jpeg")
    (tmp_path / "inbox.path").unlink()
    start(tmp_path / "x3")
    refuses(start, tmp_path / "x2", saying="was .*/x3 so far")


def test_an_inbox_whose_name_was_not_unicode_is_told_from_another(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "x2", "only.jpeg")
    (tmp_path / "inbox.path").write_bytes(os.fsencode(tmp_path) + b"/inv\xffalid")
    refuses(start, tmp_path / "x2", saying="so far")


def test_an_inbox_that_a_setting_names_otherwise_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "pneumoscreen.toml").write_text(f'[sources.inbox]\npath = "{tmp_path}/x2"\nlane = "stat"\n')
    refuses(start, tmp_path / "x3", saying=f"settings name {tmp_path}/x2 as the source inbox: leave out --inbox")
    assert start(tmp_path / "x2").sources["inbox"].lane == "stat"


@pytest.mark.parametrize(("inbox", "named"), [("scan.dcm", "scan.dcm"), ("scan.dcm/inbox", "scan.dcm")])
def test_an_inbox_that_is_a_file_is_refused_in_a_sentence(start: Start, tmp_path: Path, inbox: str, named: str) -> None:
    start(tmp_path / "x2", "only.jpeg")
    (tmp_path / "scan.dcm").touch()
    refuses(start, tmp_path / inbox, saying=f"^{tmp_path}/{named} is a file, not a folder: ")


@pytest.mark.parametrize("inbox", [".", "link", "logs"])
def test_an_inbox_that_holds_or_is_what_is_the_homes_own_is_refused(start: Start, tmp_path: Path, inbox: str) -> None:
    (tmp_path / "link").symlink_to(".")
    refuses(start, tmp_path / inbox, saying=r"inbox \(.*\) overlaps with the home folder's own")


def test_a_producer_by_itself_watches_no_folder_that_leads_into_its_home(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(".")
    with pytest.raises(WrongSettings, match="overlaps with the home folder's own"):
        services.producer(settings.load(tmp_path, sources={"ward": {"path": tmp_path / "link"}}))
