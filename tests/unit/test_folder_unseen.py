"""What a folder's poller cannot see or leaves out, and what it says of that: as a user without root's rights."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from json import dumps
from pathlib import Path

import pytest

from shared.base.errors import OutOfReach, Unreadable
from shared.base.filesystem import MARKER
from shared.base.found import Found
from shared.base.source_report import SourceReport, WatchedBy
from shared.base.source_settings import IGNORED_BY_DEFAULT, NO_MARKER
from shared.imaging import Limits
from shared.sources.folder.polling import FolderPoller
from shared.sources.folder.source import FolderSource
from tests.unit.test_folder_source import all_are_unknown, poll_until, put

NOBODY = 65534


@contextmanager
def as_another_user() -> Iterator[None]:
    """Without root's rights, to which no mode means anything."""
    if os.geteuid() != 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


@pytest.fixture
def ward() -> Iterator[Path]:
    """A folder that everybody can read; pytest's own temporary folders are closed to others."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "ward"
        folder.mkdir()
        Path(made).chmod(0o755)
        yield folder
        for closed in Path(made).rglob("*"):
            if closed.is_dir() and not closed.is_symlink():
                closed.chmod(0o755)


def poller_of(folder: Path, **settings: object) -> FolderPoller:
    chosen = {"polling": True, "settle": 0.0, "sweep_every": 1.0, "ignore": IGNORED_BY_DEFAULT, **settings}
    return FolderPoller(FolderSource("ward", folder, **chosen), threading.Event())


def sweep_whole(poller: FolderPoller, now: float = 0.0) -> tuple[SourceReport, list[str]]:
    """What is said after a whole sweep, and the paths that were found by it."""
    poller.maintain(is_known=True)
    paths: list[str] = []
    while True:
        images = poller.poll(now, all_are_unknown)
        paths += [image.path for image in images]
        if not images and not poller.is_busy:
            poller.maintain(is_known=True)
            dumps(asdict(poller.report()))  # another process may say it
            return poller.report(), sorted(paths)


def test_before_the_first_whole_sweep_nothing_is_said_of_files(ward: Path) -> None:
    assert poller_of(ward).report() == SourceReport(WatchedBy.POLLING)


def test_folders_that_cannot_be_listed_or_looked_into_are_counted_and_named(
    ward: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("open/a.png", "closed/b.png", "names-only/c.png", "names-only/sub/d.png", "passage/e.png"):
        put(ward / name)
    for name, mode in {"closed": 0o700, "names-only": 0o744, "passage": 0o711}.items():
        (ward / name).chmod(mode)
    poller = poller_of(ward)
    with as_another_user(), caplog.at_level("INFO"):
        report, paths = sweep_whole(poller)
        again, _ = sweep_whole(poller, 100.0)
    assert paths == ["open/a.png"]
    assert report.files == 1
    assert set(report.unreadable_names) == {"closed", "names-only", "names-only/sub", "passage"}
    assert report.unreadable == again.unreadable == 4
    assert caplog.text.count("folders that cannot be listed: 4") == 1, "once, not at each sweep"
    assert "closed" not in caplog.text


def test_a_folder_that_can_be_listed_again_is_no_longer_named_and_its_files_are_found(
    ward: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(ward / "closed" / "a.png")
    (ward / "closed").chmod(0o700)
    poller = poller_of(ward)
    with as_another_user(), caplog.at_level("INFO"):
        sweep_whole(poller)
        os.seteuid(os.getuid())
        (ward / "closed").chmod(0o755)
        report, paths = sweep_whole(poller, 100.0)
    assert (report.unreadable, report.unreadable_names, paths) == (0, (), ["closed/a.png"])
    assert "folders that cannot be listed: 0" in caplog.text


def test_a_folder_that_could_not_be_listed_is_watched_by_events_once_it_can_be(ward: Path) -> None:
    put(ward / "closed" / "a.png")
    (ward / "closed").chmod(0o700)
    poller = poller_of(ward, polling=False, sweep_every=0.01)
    with as_another_user():
        report, _ = sweep_whole(poller)
        assert (report.watched_by, report.unreadable) == (WatchedBy.EVENTS, 1)
    (ward / "closed").chmod(0o755)
    with as_another_user():
        sweep_whole(poller, 100.0)
        poller._sweeps._next_sweep = float("inf")
    put(ward / "closed" / "b.png")
    with as_another_user():
        assert "closed/b.png" in poll_until(poller, "closed/b.png")
    poller.stop()


def test_only_the_first_names_are_kept_but_all_are_counted(ward: Path) -> None:
    for number in range(30):
        (ward / f"{number}").mkdir(mode=0o700)
    with as_another_user():
        report, _ = sweep_whole(poller_of(ward))
    assert (report.unreadable, len(report.unreadable_names)) == (30, 20)


def test_a_source_that_cannot_be_listed_itself_is_named_by_a_dot(ward: Path) -> None:
    (ward / MARKER).touch()
    ward.chmod(0o711)
    with as_another_user():
        report, _ = sweep_whole(poller_of(ward))
    assert (report.unreadable, report.unreadable_names) == (1, (".",))


def test_links_to_folders_and_out_of_the_source_and_broken_ones_are_counted_and_named_and_linked_files_found(
    ward: Path,
) -> None:
    put(ward / "real" / "a.png")
    put(ward.parent / "outside" / "b.png")
    for link, target in {
        "inside": "real",
        "outside": "../outside",
        "loop": ".",
        "broken.png": "nowhere.png",
        "itself": "itself",
        "c.png": "real/a.png",
        "d.png": "../outside/b.png",
        "e.png": "d.png",
    }.items():
        (ward / link).symlink_to(target)
    report, paths = sweep_whole(poller_of(ward))
    assert paths == ["c.png", "d.png", "e.png", "real/a.png"], "a row says of d.png and e.png that they lead out"
    names = {"inside", "outside", "loop", "broken.png", "itself", "d.png", "e.png"}
    assert (report.links, set(report.links_names)) == (7, names)
    assert (report.files, report.unreadable) == (4, 0)


def test_what_is_left_out_is_counted_by_its_pattern(ward: Path) -> None:
    for name in ("a.png", "a.xml", "b.XML", "c.part", ".hidden", "@eaDir/a.png", "@eaDir/b.png", "ward/Thumbs.db"):
        put(ward / name)
    os.mkfifo(ward / "pipe.png")
    (ward / "device.png").symlink_to("/dev/null")
    report, paths = sweep_whole(poller_of(ward))
    assert paths == ["a.png"]
    assert report.ignored == {
        "*.xml": 2,
        "temporary or hidden": 2,  # not the marker
        "@eaDir": 1,  # a folder counts once, however much lies in it
        "Thumbs.db": 1,
        "no regular file": 2,
    }


def test_a_name_that_is_not_utf_8_is_shown_as_text(ward: Path) -> None:
    (ward / os.fsdecode(b"caf\xe9")).symlink_to("nowhere")
    assert sweep_whole(poller_of(ward))[0].links_names == ("caf\\xe9",)


def test_a_watched_folder_that_is_a_link_reports_events(ward: Path) -> None:
    (ward.parent / "link").symlink_to(ward)
    put(ward / "first.png")
    poller = poller_of(ward.parent / "link", polling=False, sweep_every=1000.0)
    report, _ = sweep_whole(poller, time.monotonic())
    assert report.watched_by == WatchedBy.EVENTS
    for name in ("a.png", "sub/b.png"):
        put(ward / name)
        assert name in poll_until(poller, name), "by an event, since the next sweep is far off"
    poller.stop()


def test_a_link_that_is_made_to_lead_elsewhere_is_followed_there(ward: Path) -> None:
    other, link = ward.parent / "other", ward.parent / "link"
    other.mkdir()
    put(other / "old.png")
    link.symlink_to(ward)
    poller = poller_of(link, polling=False, sweep_every=1000.0)
    sweep_whole(poller, time.monotonic())
    link.unlink()
    link.symlink_to(other)
    assert "old.png" in poll_until(poller, "old.png")
    put(other / "new.png")
    assert "new.png" in poll_until(poller, "new.png")
    poller.stop()


def test_what_is_closed_to_the_marker_is_said_once_and_its_images_are_found(
    ward: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(ward / "a.png")
    poller = poller_of(ward)
    with as_another_user(), caplog.at_level("INFO"):
        report, paths = sweep_whole(poller)
        sweep_whole(poller, 100.0)
    assert paths == ["a.png"]
    assert report.watched_by == WatchedBy.POLLING, "it is not away"
    assert report.problem is not None
    assert f"its marker {MARKER} cannot be written (Permission denied)" in report.problem
    assert "set `marker`" in report.problem
    assert caplog.text.count("cannot be written") == 1
    (ward / MARKER).touch()
    with as_another_user(), caplog.at_level("INFO"):
        assert sweep_whole(poller, 200.0)[0].problem is None
    assert "source ward is in reach, and so is its marker" in caplog.text


def test_a_folder_whose_share_is_away_says_so_once(ward: Path, caplog: pytest.LogCaptureFixture) -> None:
    poller = poller_of(ward)
    for now in (0.0, 100.0):
        report, _ = sweep_whole(poller, now)
    assert report.watched_by == WatchedBy.NOTHING
    assert report.problem == f"is out of reach: its marker {MARKER} cannot be seen. Is it mounted?"
    assert caplog.text.count("is out of reach") == 1
    ward.rmdir()
    assert "there is no such folder" in (sweep_whole(poller, 200.0)[0].problem or "")


def find(source: FolderSource, path: str) -> Found:
    found = source.find(path)
    assert found is not None
    return found


def read_missing(source: FolderSource, found: Found) -> None:
    source.local_copy(found.path).unlink()
    source.read(found.path, found.revision, Limits())


def sources_of(marker: str, roots: Sequence[Path]) -> list[FolderSource]:
    return [FolderSource("ward", root, marker=marker) for root in roots]


def test_a_marker_of_ones_own_tells_a_removed_file_from_a_share_that_is_away(ward: Path) -> None:
    (source,) = sources_of("site/about.txt", [ward])
    put(ward / "a.png")
    assert source.exists("b.png") is None
    with pytest.raises(OutOfReach, match=r"its marker site/about\.txt cannot be seen"):
        read_missing(source, find(source, "a.png"))
    put(ward / "site" / "about.txt")
    put(ward / "a.png")
    with as_another_user():
        poller = poller_of(ward, marker="site/about.txt")
        assert sweep_whole(poller)[0].problem is None
        assert source.is_in_reach() and source.exists("b.png") is False
    with pytest.raises(Unreadable):
        read_missing(source, find(source, "a.png"))
    assert not (ward / MARKER).exists(), "it is never written where another one is set"


def test_without_a_marker_a_folder_is_in_reach_while_anything_lies_in_it(ward: Path) -> None:
    (source,) = sources_of(NO_MARKER, [ward])
    poller = poller_of(ward, marker=NO_MARKER)
    assert not source.is_in_reach()
    assert sweep_whole(poller)[0].problem == ("is out of reach: it is empty, and it has no marker. Is it mounted?")
    put(ward / "a.png"), put(ward / "b.png")
    with as_another_user():
        assert sweep_whole(poller, 100.0)[0].problem is None
        assert source.is_in_reach() and source.exists("c.png") is False
    with pytest.raises(Unreadable):
        read_missing(source, find(source, "a.png"))
    with pytest.raises(OutOfReach, match="it is empty, and it has no marker"):
        read_missing(source, find(source, "b.png"))
    assert list(ward.iterdir()) == []
