import os
import queue
from pathlib import Path

import pytest

from shared.base.filesystem import MARKER
from shared.base.settings import Folder
from shared.sources.folder.facts import Facts
from shared.sources.folder.source import Root
from shared.sources.folder.sweep import look, sweep
from shared.sources.folder.watch import FileEvent, Watch


def put(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"an image")
    return file


def swept(root: Path, within: str = "") -> list[str]:
    return sorted(found.path for found, _ in sweep(root, within))


def test_a_sweep_finds_every_file_at_any_depth(tmp_path: Path) -> None:
    for name in ("a.png", "ward/b.png", "ward/2026/05/c.png", "ü 🩻/d.png"):
        put(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert swept(tmp_path) == ["a.png", "ward/2026/05/c.png", "ward/b.png", "ü 🩻/d.png"]


def test_a_sweep_reports_the_facts_of_each_file(tmp_path: Path) -> None:
    file = put(tmp_path / "a.png")
    ((found, stat),) = sweep(tmp_path)
    assert found.facts == Facts.of(file.stat()) == Facts.of(stat)


def test_a_sweep_within_a_folder_names_files_from_the_root(tmp_path: Path) -> None:
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
    assert {found.path: found.facts for found, _ in sweep(tmp_path)} == {
        "a.png": Facts.of(target.stat()),
        "b.png": Facts.of(target.stat()),
    }


def test_pipes_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert swept(tmp_path) == []
    assert look(tmp_path / "pipe.png") is None


def test_a_pipe_is_reported_once_and_without_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    root = Root("ward", Folder(path=tmp_path, polling=True), 30.0, queue.Queue())
    with caplog.at_level("INFO"):
        for now in (0.0, 100.0, 200.0):
            root.next_files(10, now)
    assert caplog.text.count("a pipe, a socket or a device") == 1
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


def root(folder: Path, *, polling: bool | None = True, sweep_every: float = 30.0) -> Root:
    return Root("ward", Folder(path=folder, polling=polling), sweep_every, queue.Queue())


def test_a_new_root_gets_its_marker(tmp_path: Path) -> None:
    root(tmp_path).maintain(is_known=False)
    assert (tmp_path / MARKER).exists()


def test_a_known_root_with_files_in_it_gets_a_lost_marker_back(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    root(tmp_path).maintain(is_known=True)
    assert (tmp_path / MARKER).exists()


def test_a_known_root_that_is_empty_gets_none_for_its_share_may_be_missing(tmp_path: Path) -> None:
    root(tmp_path).maintain(is_known=True)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_does_not_exist_is_neither_made_nor_fatal(tmp_path: Path) -> None:
    found = root(tmp_path / "later")
    found.maintain(is_known=False)
    assert not (tmp_path / "later").exists()
    assert found.next_files(10, now=0.0) == []


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for number in range(5):
        put(tmp_path / f"{number}.png")
    found = root(tmp_path)
    parts = [[file.path for file, _ in found.next_files(2, now=0.0)] for _ in range(4)]
    assert [len(part) for part in parts] == [2, 2, 1, 0]
    assert sorted(path for part in parts for path in part) == [f"{n}.png" for n in range(5)]


def test_the_next_sweep_begins_when_its_time_has_come(tmp_path: Path) -> None:
    found = root(tmp_path, sweep_every=3.0)
    assert found.next_files(10, now=0.0) == []
    put(tmp_path / "a.png")
    assert found.next_files(10, now=2.9) == []
    assert [file.path for file, _ in found.next_files(10, now=3.0)] == ["a.png"]


def test_a_root_that_takes_long_to_sweep_leaves_time_for_other_work(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    found = root(tmp_path, sweep_every=3.0)
    found.next_files(1, now=0.0)
    assert found.next_files(1, now=10.0) == []  # it took ten seconds
    assert found.next_files(1, now=99.0) == []
    assert len(found.next_files(1, now=101.0)) == 1


def test_a_folder_that_appears_is_swept_at_once(tmp_path: Path) -> None:
    found = root(tmp_path)
    assert found.next_files(10, now=0.0) == []
    put(tmp_path / "moved in" / "a.png")
    found.add_folder("moved in")
    assert [file.path for file, _ in found.next_files(10, now=0.1)] == ["moved in/a.png"]


@pytest.fixture
def events() -> "queue.Queue[FileEvent]":
    return queue.Queue()


def paths(events: "queue.Queue[FileEvent]", until: FileEvent) -> list[FileEvent]:
    found = [events.get(timeout=10)]
    while found[-1] != until:
        found.append(events.get(timeout=10))
    return found


def test_the_watch_reports_files_that_were_closed_and_folders_that_were_made(
    tmp_path: Path, events: "queue.Queue[FileEvent]"
) -> None:
    watch = Watch("ward", tmp_path, events)
    assert watch.keep_alive()
    assert watch.missed.is_set()  # what lies there already is found by a sweep
    put(tmp_path / "a.png")
    assert paths(events, FileEvent("ward", "a.png", is_folder=False, is_closed=True))
    (tmp_path / "sub").mkdir()
    assert paths(events, FileEvent("ward", "sub", is_folder=True, is_closed=False))
    put(tmp_path / "b.part").rename(tmp_path / "b.png")
    assert paths(events, FileEvent("ward", "b.png", is_folder=False, is_closed=True))
    assert watch.keep_alive()
    watch.stop()


def test_a_root_that_was_removed_and_made_anew_is_watched_again(
    tmp_path: Path, events: "queue.Queue[FileEvent]"
) -> None:
    folder = tmp_path / "ward"
    folder.mkdir()
    watch = Watch("ward", folder, events)
    assert watch.keep_alive()
    folder.rename(tmp_path / "old")  # so that the new one cannot have its inode
    folder.mkdir()
    watch.missed.clear()
    assert watch.keep_alive()
    assert watch.missed.is_set()
    put(folder / "a.png")
    assert paths(events, FileEvent("ward", "a.png", is_folder=False, is_closed=True))
    watch.stop()


def test_a_root_that_is_missing_cannot_be_watched_until_it_is_there(
    tmp_path: Path, events: "queue.Queue[FileEvent]"
) -> None:
    watch = Watch("ward", tmp_path / "later", events)
    assert not watch.keep_alive()
    (tmp_path / "later").mkdir()
    assert watch.keep_alive()
    (tmp_path / "later").rmdir()
    assert not watch.keep_alive()


def test_a_full_queue_of_signs_makes_the_root_be_swept(tmp_path: Path) -> None:
    full: queue.Queue[FileEvent] = queue.Queue(1)
    watch = Watch("ward", tmp_path, full)
    watch.keep_alive()
    watch.missed.clear()
    for number in range(3):
        put(tmp_path / f"{number}.png")
    assert watch.missed.wait(10)
    watch.stop()
