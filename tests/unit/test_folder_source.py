import os
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.base.filesystem import MARKER
from shared.base.found import Found
from shared.base.source_settings import IGNORED_BY_DEFAULT
from shared.sources.folder.facts import Facts
from shared.sources.folder.polling import FolderPoller
from shared.sources.folder.source import FolderSource
from shared.sources.folder.sweep import Sweeps, look, sweep
from shared.sources.folder.watch import FileEvent, Watch
from shared.sources.ignored import IgnoreRule


def put(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"an image")
    return file


def swept(root: Path, within: str = "") -> list[str]:
    return sorted(found.path for found, _ in sweep(root, within=within))


def test_a_sweep_finds_every_file_at_any_depth(tmp_path: Path) -> None:
    for name in ("a.png", "ward/b.png", "ward/2026/05/c.png", "ü 🩻/d.png"):
        put(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert swept(tmp_path) == ["a.png", "ward/2026/05/c.png", "ward/b.png", "ü 🩻/d.png"]


def test_a_sweep_reports_the_facts_of_each_file(tmp_path: Path) -> None:
    file = put(tmp_path / "a.png")
    ((found, stat),) = sweep(tmp_path)
    assert found == Facts.of(file.stat()).found("a.png") == Facts.of(stat).found("a.png")


def test_a_sweep_within_a_folder_names_files_from_the_top(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "ward" / "sub" / "b.png")
    assert swept(tmp_path, "ward") == ["ward/sub/b.png"]


def test_hidden_and_temporary_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    for name in (MARKER, ".hidden.png", ".hidden/a.png", "ward/.git/a.png", "a.part", "a.png~"):
        put(tmp_path / name)
    assert swept(tmp_path) == []


def test_a_linked_folder_is_not_entered(tmp_path: Path) -> None:
    put(tmp_path / "outside" / "a.png")
    put(tmp_path / "root" / "b.png")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    assert swept(tmp_path / "root") == ["b.png"]


def test_a_link_put_in_a_folders_place_during_the_sweep_is_not_entered(tmp_path: Path) -> None:
    put(tmp_path / "outside" / "secret.png")
    for name in ("one", "two"):
        put(tmp_path / "root" / name / "a.png")
    files = sweep(tmp_path / "root")
    first = next(files)[0].path
    other = tmp_path / "root" / ("one" if first.startswith("two") else "two")
    other.rename(tmp_path / "away")
    other.symlink_to(tmp_path / "outside")  # the sweep has seen that it is a folder, and comes to it now
    assert [found.path for found, _ in files] == []


def test_a_linked_file_is_reported_with_the_facts_of_its_target(tmp_path: Path) -> None:
    target = put(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    (tmp_path / "broken.png").symlink_to("nowhere")
    facts = Facts.of(target.stat())
    assert {found.path: found for found, _ in sweep(tmp_path)} == {
        "a.png": facts.found("a.png"),
        "b.png": facts.found("b.png"),
    }


def test_pipes_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert swept(tmp_path) == []
    assert look(tmp_path / "pipe.png") is None


def test_a_pipe_is_reported_once_and_without_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    sweeps = sweeps_of(tmp_path)
    with caplog.at_level("INFO"):
        for now in (0.0, 100.0, 200.0):
            sweeps.next_files(10, now)
    assert caplog.text.count("pipes, sockets and devices, which are ignored: 1") == 1
    assert "pipe.png" not in caplog.text


def test_a_name_that_is_not_utf_8_is_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    put(tmp_path / name)
    assert swept(tmp_path) == [name]


def test_a_folder_that_went_away_is_no_error(tmp_path: Path) -> None:
    assert swept(tmp_path / "gone") == []
    assert look(tmp_path / "gone" / "a.png") is None


def test_a_folder_removed_during_a_sweep_costs_no_other_file(tmp_path: Path) -> None:
    for name in ("one/a.png", "two/b.png"):
        put(tmp_path / name)
    files = sweep(tmp_path)
    first, _ = next(files)
    other = {"one/a.png": "two", "two/b.png": "one"}[first.path]
    (tmp_path / other).rename(tmp_path / ".away")
    assert list(files) == []


def sweeps_of(folder: Path, *, sweep_every: float = 30.0) -> Sweeps:
    return Sweeps("ward", folder, IgnoreRule(()), sweep_every)


def poller_of(folder: Path, *, settle: float = 0.0, ignore: tuple[str, ...] = IGNORED_BY_DEFAULT) -> FolderPoller:
    return FolderPoller(FolderSource("ward", folder, polling=True, settle=settle, ignore=ignore), threading.Event())


def all_are_unknown(images: Sequence[Found]) -> list[Found]:
    return list(images)


def test_a_new_folder_gets_its_marker(tmp_path: Path) -> None:
    poller_of(tmp_path).maintain(is_known=False)
    assert (tmp_path / MARKER).exists()


def test_a_known_folder_with_files_in_it_gets_a_lost_marker_back(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    poller_of(tmp_path).maintain(is_known=True)
    assert (tmp_path / MARKER).exists()


def test_a_known_folder_that_is_empty_gets_none_for_its_share_may_be_missing(tmp_path: Path) -> None:
    poller_of(tmp_path).maintain(is_known=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_neither_made_nor_fatal(tmp_path: Path) -> None:
    poller = poller_of(tmp_path / "later")
    poller.maintain(is_known=False)
    assert not (tmp_path / "later").exists()
    assert poller.poll(0.0, all_are_unknown) == []


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for number in range(5):
        put(tmp_path / f"{number}.png")
    sweeps = sweeps_of(tmp_path)
    parts = [[file.path for file, _ in sweeps.next_files(2, now=0.0)] for _ in range(4)]
    assert [len(part) for part in parts] == [2, 2, 1, 0]
    assert sorted(path for part in parts for path in part) == [f"{n}.png" for n in range(5)]


def test_the_next_sweep_begins_when_its_time_has_come(tmp_path: Path) -> None:
    sweeps = sweeps_of(tmp_path, sweep_every=3.0)
    assert sweeps.next_files(10, now=0.0) == []
    put(tmp_path / "a.png")
    assert sweeps.next_files(10, now=2.9) == []
    assert [file.path for file, _ in sweeps.next_files(10, now=3.0)] == ["a.png"]


def test_a_folder_that_takes_long_to_sweep_leaves_time_for_other_work(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    sweeps = sweeps_of(tmp_path, sweep_every=3.0)
    sweeps.next_files(1, now=0.0)
    assert sweeps.next_files(1, now=10.0) == []  # it took ten seconds
    assert sweeps.next_files(1, now=99.0) == []
    assert len(sweeps.next_files(1, now=101.0)) == 1


def test_a_folder_that_appears_is_swept_at_once(tmp_path: Path) -> None:
    sweeps = sweeps_of(tmp_path)
    assert sweeps.next_files(10, now=0.0) == []
    put(tmp_path / "moved in" / "a.png")
    sweeps.add_folder("moved in")
    assert [file.path for file, _ in sweeps.next_files(10, now=0.1)] == ["moved in/a.png"]


@pytest.fixture
def events() -> "queue.Queue[FileEvent]":
    return queue.Queue()


def paths(events: "queue.Queue[FileEvent]", until: FileEvent) -> list[FileEvent]:
    taken = [events.get(timeout=10)]
    while taken[-1] != until:
        taken.append(events.get(timeout=10))
    return taken


def test_the_watch_reports_files_that_were_closed_and_folders_that_were_made(
    tmp_path: Path, events: "queue.Queue[FileEvent]"
) -> None:
    watch = Watch("ward", tmp_path, events, threading.Event())
    assert watch.keep_alive()
    assert watch.missed.is_set()  # what lies there already is found by a sweep
    put(tmp_path / "a.png")
    assert paths(events, FileEvent("a.png", is_folder=False, is_closed=True))
    (tmp_path / "sub").mkdir()
    assert paths(events, FileEvent("sub", is_folder=True, is_closed=False))
    put(tmp_path / "b.part").rename(tmp_path / "b.png")
    assert paths(events, FileEvent("b.png", is_folder=False, is_closed=True))
    assert watch.keep_alive()
    watch.stop()


def test_a_folder_that_was_removed_and_made_anew_is_watched_again(
    tmp_path: Path, events: "queue.Queue[FileEvent]"
) -> None:
    folder = tmp_path / "ward"
    folder.mkdir()
    watch = Watch("ward", folder, events, threading.Event())
    assert watch.keep_alive()
    folder.rename(tmp_path / "old")  # so that the new one cannot have its inode
    folder.mkdir()
    watch.missed.clear()
    assert watch.keep_alive()
    assert watch.missed.is_set()
    put(folder / "a.png")
    assert paths(events, FileEvent("a.png", is_folder=False, is_closed=True))
    watch.stop()


def test_a_folder_that_is_missing_cannot_be_watched_until_it_is_there(
    tmp_path: Path, events: "queue.Queue[FileEvent]"
) -> None:
    watch = Watch("ward", tmp_path / "later", events, threading.Event())
    assert not watch.keep_alive()
    (tmp_path / "later").mkdir()
    assert watch.keep_alive()
    (tmp_path / "later").rmdir()
    assert not watch.keep_alive()


def test_a_full_queue_of_events_makes_the_folder_be_swept(tmp_path: Path) -> None:
    full: queue.Queue[FileEvent] = queue.Queue(1)
    watch = Watch("ward", tmp_path, full, threading.Event())
    watch.keep_alive()
    watch.missed.clear()
    for number in range(3):
        put(tmp_path / f"{number}.png")
    assert watch.missed.wait(10)
    watch.stop()


def poll_until(poller: FolderPoller, path: str) -> list[str]:
    """The paths that were found until this one was."""
    paths: list[str] = []
    for _ in range(500):
        poller.maintain(is_known=True)
        paths += [found.path for found in poller.poll(time.monotonic(), all_are_unknown)]
        if path in paths:
            return paths
        time.sleep(0.02)
    raise AssertionError(f"{path} was not found, only {paths}")


def test_what_accompanies_exported_images_is_not_reported(tmp_path: Path) -> None:
    for name in ("report.pdf", "DICOMDIR", "dicomdir", "meta.XML", "@eaDir/a.png", "Thumbs.db", "a.png", "z.dcm"):
        put(tmp_path / name)
    found = poller_of(tmp_path).poll(0.0, all_are_unknown)
    assert sorted(image.path for image in found) == ["a.png", "z.dcm"]


def test_what_accompanies_exported_images_is_not_reported_by_events_either(tmp_path: Path) -> None:
    source = FolderSource("ward", tmp_path, polling=False, ignore=IGNORED_BY_DEFAULT, settle=1000.0, sweep_every=1000.0)
    wake = threading.Event()
    poller = FolderPoller(source, wake)
    poller.maintain(is_known=True)
    poller.poll(0.0, all_are_unknown)
    for name in ("report.pdf", "DICOMDIR", "meta.xml", "b.png"):
        put(tmp_path / name)
    assert wake.wait(10)
    assert set(poll_until(poller, "b.png")) == {"b.png"}
    poller.stop()


def test_a_source_may_ignore_other_names_than_the_default(tmp_path: Path) -> None:
    for name in ("a.pdf", "old/b.png", "c-preview.png", "new/d.png", "e.part"):
        put(tmp_path / name)
    found = poller_of(tmp_path, ignore=("old/*", "*-Preview.png")).poll(0.0, all_are_unknown)
    assert sorted(image.path for image in found) == ["a.pdf", "new/d.png"]


def test_an_image_that_the_ledger_could_not_be_asked_about_is_found_again(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    poller = FolderPoller(FolderSource("ward", tmp_path, polling=True, settle=0.0, sweep_every=1.0), threading.Event())

    def is_out_of_reach(images: Sequence[Found]) -> list[Found]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        poller.poll(0.0, is_out_of_reach)
    assert poller.poll(0.0, all_are_unknown) == []  # the end of that sweep
    assert [image.path for image in poller.poll(1.0, all_are_unknown)] == ["a.png"]
