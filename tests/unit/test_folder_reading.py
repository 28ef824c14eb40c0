import contextlib
import errno
import os
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from shared.base.errors import Changed, ImageError, OutOfReach, Unreadable
from shared.base.filesystem import MARKER, open_within
from shared.imaging import Limits
from shared.sources.folder import marker, reading
from shared.sources.folder.facts import SECOND, Facts
from shared.sources.folder.reading import read


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / MARKER).touch()
    return root


def drop(file: Path, data: bytes = b"an image") -> Facts:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return Facts.of(file.stat())


def test_a_file_is_read_whole(root: Path) -> None:
    data = os.urandom(300_000)
    facts = drop(root / "ward 3" / "a.png", data)
    assert read(root, "ward 3/a.png", facts.revision, Limits()) == data


def test_a_file_whose_name_is_not_utf_8_is_read(root: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    assert read(root, name, drop(root / name).revision, Limits()) == b"an image"


def test_a_file_that_grew_since_it_was_registered_has_changed(root: Path) -> None:
    facts = drop(root / "a.png")
    with (root / "a.png").open("ab") as file:
        file.write(b" and more")
    with pytest.raises(Changed) as caught:
        read(root, "a.png", facts.revision, Limits())
    assert caught.value.revision == Facts.of((root / "a.png").stat()).revision


def test_a_file_that_was_touched_has_changed(root: Path) -> None:
    facts = drop(root / "a.png")
    os.utime(root / "a.png", ns=(1, 1))
    with pytest.raises(Changed):
        read(root, "a.png", facts.revision, Limits())


def test_another_file_of_the_same_size_and_second_is_read_since_other_hosts_could_not_tell_it(root: Path) -> None:
    facts = drop(root / "a.png", b"one")
    drop(root / "b.png", b"two")
    os.utime(root / "b.png", ns=(facts.mtime_ns, facts.mtime_ns))
    (root / "b.png").rename(root / "a.png")
    assert read(root, "a.png", facts.revision, Limits()) == b"two"


def test_a_file_that_is_written_while_it_is_read_has_changed_though_its_second_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = drop(root / "a.png", b"one")
    second = facts.mtime_ns // SECOND * SECOND
    os.utime(root / "a.png", ns=(second, second))
    look, looks = os.fstat, 0

    def write_before_the_second_look(descriptor: int) -> os.stat_result:
        nonlocal looks
        looks += 1
        if looks == 2:
            (root / "a.png").write_bytes(b"two")
            os.utime(root / "a.png", ns=(second + 1, second + 1))
        return look(descriptor)

    monkeypatch.setattr(os, "fstat", write_before_the_second_look)
    with pytest.raises(Changed) as caught:
        read(root, "a.png", facts.revision, Limits())
    assert caught.value.revision == facts.revision


def test_a_removed_file_is_its_own_fault_while_the_root_is_in_reach(root: Path) -> None:
    facts = drop(root / "a.png")
    (root / "a.png").unlink()
    with pytest.raises(Unreadable, match="the file is gone"):
        read(root, "a.png", facts.revision, Limits())


def test_a_removed_folder_is_no_worse_than_a_removed_file(root: Path) -> None:
    facts = drop(root / "sub" / "a.png")
    (root / "sub" / "a.png").unlink()
    (root / "sub").rmdir()
    with pytest.raises(Unreadable, match="the file is gone"):
        read(root, "sub/a.png", facts.revision, Limits())


def test_a_missing_file_is_the_worlds_fault_while_the_marker_cannot_be_seen(root: Path) -> None:
    facts = drop(root / "a.png")
    (root / "a.png").unlink()
    (root / MARKER).unlink()
    with pytest.raises(OutOfReach, match=MARKER):
        read(root, "a.png", facts.revision, Limits())


def test_a_root_that_comes_back_just_after_a_file_was_missed_is_asked_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = drop(root / "a.png")
    away = root.rename(root.with_name("elsewhere"))
    stat = os.stat

    def come_back_first(path: Path, **how: bool) -> os.stat_result:
        if path.name == MARKER:
            away.rename(root)
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", come_back_first)
    with pytest.raises(OutOfReach, match="a moment ago"):
        read(root, "a.png", facts.revision, Limits())


def test_a_share_that_drops_as_it_is_looked_for_a_missing_file_is_the_worlds_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = drop(root / "a.png")
    (root / "a.png").unlink()

    def stale(path: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "stat", stale)
    with pytest.raises(OutOfReach, match="a moment ago"):
        read(root, "a.png", facts.revision, Limits())


def test_a_root_that_goes_away_between_the_two_looks_has_not_lost_its_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = drop(root / "a.png")
    (root / "a.png").rename(root / ".hidden")  # missing at the first look, there until the share goes
    look, answers = marker.why_away, []

    def go_away_after_the_first(folder: Path, name: str) -> str | None:
        answers.append(look(folder, name))
        if len(answers) == 1:
            root.rename(root.with_name("elsewhere"))
        return answers[-1]

    monkeypatch.setattr(reading, "why_away", go_away_after_the_first)
    with pytest.raises(OutOfReach, match="out of reach"):
        read(root, "a.png", facts.revision, Limits())
    assert [answer is None for answer in answers] == [True, False]


def test_a_root_that_is_not_mounted_is_the_worlds_fault(root: Path) -> None:
    facts = drop(root / "a.png")
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(OutOfReach, match="out of reach"):
        read(root, "a.png", facts.revision, Limits())


def test_a_link_that_leads_out_of_its_root_is_refused(root: Path, tmp_path: Path) -> None:
    facts = drop(tmp_path / "secret")
    (root / "a.png").symlink_to(tmp_path / "secret")
    with pytest.raises(Unreadable, match="leads out of its folder"):
        read(root, "a.png", facts.revision, Limits())


def test_a_folder_that_is_a_link_out_of_its_root_is_refused(root: Path, tmp_path: Path) -> None:
    facts = drop(tmp_path / "outside" / "a.png")
    (root / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(Unreadable, match="leads out of its folder"):
        read(root, "sub/a.png", facts.revision, Limits())


def test_a_neighbour_whose_name_begins_like_the_root_is_outside(root: Path, tmp_path: Path) -> None:
    facts = drop(tmp_path / "root-private" / "a.png")
    (root / "a.png").symlink_to(tmp_path / "root-private" / "a.png")
    with pytest.raises(Unreadable, match="leads out of its folder"):
        read(root, "a.png", facts.revision, Limits())


def test_a_link_within_its_root_is_followed(root: Path) -> None:
    facts = drop(root / "archive" / "a.png")
    (root / "b.png").symlink_to("archive/a.png")
    assert read(root, "b.png", facts.revision, Limits()) == b"an image"


def test_a_root_that_is_itself_a_link_is_fine(root: Path, tmp_path: Path) -> None:
    facts = drop(root / "a.png")
    (tmp_path / "link").symlink_to(root)
    assert read(tmp_path / "link", "a.png", facts.revision, Limits()) == b"an image"


def test_a_pipe_in_the_files_place_neither_hangs_the_worker_nor_is_read(root: Path) -> None:
    facts = drop(root / "a.png")
    (root / "a.png").unlink()
    os.mkfifo(root / "a.png")
    with pytest.raises(Unreadable, match="not a regular file"):
        read(root, "a.png", facts.revision, Limits())


def test_a_folder_in_the_files_place_is_refused(root: Path) -> None:
    facts = drop(root / "a.png")
    (root / "a.png").unlink()
    (root / "a.png").mkdir()
    with pytest.raises(Unreadable, match="not a regular file"):
        read(root, "a.png", facts.revision, Limits())


def test_no_file_stays_open_whatever_lies_in_the_files_place(root: Path) -> None:
    facts = drop(root / "a.png")
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("a.png", "folder", "pipe", "missing"):
        with contextlib.suppress(ImageError):
            read(root, name, facts.revision, Limits())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_socket_in_the_files_place_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = drop(root / "a.png")
    (root / "a.png").unlink()
    monkeypatch.chdir(root)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a.png")
        with pytest.raises(Unreadable):
            read(root, "a.png", facts.revision, Limits())


def test_a_file_in_the_place_of_the_files_folder_means_that_the_file_was_removed(root: Path) -> None:
    facts = drop(root / "sub" / "a.png")
    (root / "sub" / "a.png").unlink()
    (root / "sub").rmdir()
    drop(root / "sub")
    with pytest.raises(Unreadable):
        read(root, "sub/a.png", facts.revision, Limits())


def test_a_link_that_leads_to_itself_is_refused(root: Path) -> None:
    facts = drop(root / "a.png")
    (root / "a.png").unlink()
    (root / "a.png").symlink_to("a.png")
    with pytest.raises(Unreadable):
        read(root, "a.png", facts.revision, Limits())


def test_a_file_above_the_limit_is_refused_before_it_is_read(root: Path) -> None:
    facts = drop(root / "a.png", b"12345")
    assert read(root, "a.png", facts.revision, Limits(bytes=5)) == b"12345"
    with pytest.raises(Unreadable, match="max_bytes"):
        read(root, "a.png", facts.revision, Limits(bytes=4))


def swap(place: Path, inside: Path, link: Path, stop: threading.Event) -> None:
    """Put a folder and a link to another one into the same place, in turn, as fast as it goes."""
    while not stop.is_set():
        place.rename(inside)
        link.rename(place)
        place.rename(link)
        inside.rename(place)


def test_a_link_put_in_a_folders_place_between_check_and_open_does_not_lead_out(root: Path, tmp_path: Path) -> None:
    facts = drop(tmp_path / "outside" / "a.png", b"secret")  # as a producer would have seen it through the link
    drop(root / "sub" / "deep" / "a.png", b"an image")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    stop, reasons = threading.Event(), Counter[str]()
    arguments = (root / "sub" / "deep", tmp_path / "inside", tmp_path / "link", stop)
    swapping = threading.Thread(target=swap, args=arguments)
    swapping.start()
    try:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            try:
                data = read(root, "sub/deep/a.png", facts.revision, Limits())
            except ImageError as error:
                reasons[str(error)] += 1
            else:
                pytest.fail(f"read from outside: {data!r}")
    finally:
        stop.set()
        swapping.join()
    assert {"the path is a link that leads out of its folder", str(Changed("", 0))} <= set(reasons)


@pytest.mark.parametrize("path", ["../outside/a.png", "sub/../../outside/a.png", "/etc/passwd"])
def test_a_path_that_climbs_out_of_its_root_is_refused(root: Path, tmp_path: Path, path: str) -> None:
    facts = drop(tmp_path / "outside" / "a.png")
    (root / "sub").mkdir()
    with pytest.raises(Unreadable, match="leads out of its folder"):
        read(root, path, facts.revision, Limits())


@pytest.mark.parametrize("path", ["link/a.png", "../outside/a.png", "link", "/etc/passwd", "sub/../../outside/a.png"])
def test_nothing_is_opened_through_a_link_or_above_its_folder(root: Path, tmp_path: Path, path: str) -> None:
    drop(tmp_path / "outside" / "a.png")
    (root / "sub").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links|not below"):
        os.close(open_within(root, path, os.O_RDONLY))
