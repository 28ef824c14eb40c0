"""What asks sources once, as `status`, `up` and `screen` do, has its answer soon where a share hangs or is dead."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actions import submission
from local import inbox
from queries.needs import sources_out_of_reach
from shared import sources
from shared.base import settings
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.database import Database
from shared.sources import links
from tests.hanging_share import HangingShare, PretendedShare
from tests.unit.test_helpers import share

__all__ = ["share"]
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
