"""What every source answers, asked of a folder and of what people submitted."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shared import sources
from shared.base import settings
from shared.base.errors import Changed, OutOfReach, Unreadable, WorkFailed
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.base.source_settings import OWN, OWN_SOURCES
from shared.imaging import Limits
from shared.sources import submitted
from shared.sources.folder.source import FolderSource

TOP = Path(__file__).parents[2]
POSTGRES = "postgresql+psycopg://nobody@127.0.0.1:1/none"


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    (tmp_path / "ward").mkdir()
    folders = {"ward": {"path": tmp_path / "ward", "lane": "stat"}}
    return settings.load(tmp_path / "home", sources=folders)


@pytest.fixture
def ward(chosen: Settings) -> FolderSource:
    source = sources.build(chosen)["ward"]
    assert isinstance(source, FolderSource)
    return source


def put(file: Path, content: bytes = b"an image") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_a_host_knows_the_sources_of_its_settings_and_the_systems_own(chosen: Settings, tmp_path: Path) -> None:
    known = sources.build(chosen)
    assert {name: (s.name, s.kind, s.lane, s.is_owned, s.is_watched, s.place) for name, s in known.items()} == {
        "ward": ("ward", "folder", "stat", False, True, str(tmp_path / "ward")),
        "submitted": ("submitted", "submitted", "routine", True, False, str(tmp_path / "home" / "submitted")),
    }


def test_the_names_of_the_systems_own_sources_are_reserved_and_so_are_their_folders() -> None:
    assert set(OWN_SOURCES) == set(sources.OWN)
    assert set(OWN_SOURCES) <= set(OWN)


def test_an_image_is_found_read_and_no_more_at_that_revision_once_it_changed(ward: FolderSource) -> None:
    file = put(ward.root / "a.png")
    found = ward.find("a.png")
    assert found is not None and found.size == 8
    assert ward.read("a.png", found.revision, Limits()) == b"an image"
    assert ward.written_at(found.revision).timestamp() == pytest.approx(file.stat().st_mtime)
    assert ward.local_copy("a.png").read_bytes() == b"an image"
    put(file, b"another image")
    with pytest.raises(Changed):
        ward.read("a.png", found.revision, Limits())


def test_a_source_tells_whether_an_image_is_there_or_that_it_cannot_tell(ward: FolderSource) -> None:
    put(ward.root / "a.png")
    assert ward.exists("a.png") is True
    assert ward.exists("b.png") is None, "a folder without its marker may be the mount point of a share"
    (ward.root / MARKER).touch()
    assert ward.exists("b.png") is False
    assert ward.exists("a.png/c.png") is False


def test_a_file_that_may_not_be_looked_at_is_not_gone(ward: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError

    ward = replace(ward, timeout=None)  # it is asked in this process, which the test changes
    (ward.root / MARKER).touch()
    monkeypatch.setattr(Path, "lstat", refuse)
    assert ward.exists("a.png") is None


def test_a_share_that_goes_away_during_the_look_takes_no_image_with_it(
    ward: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ward.root / MARKER).touch()
    ward = replace(ward, timeout=None)

    def unmount(_: Path) -> None:
        (ward.root / MARKER).unlink(missing_ok=True)
        raise FileNotFoundError

    monkeypatch.setattr(Path, "lstat", unmount)
    assert ward.exists("a.png") is None


def test_a_share_that_is_away_is_a_transient_failure_and_a_missing_file_a_permanent_one(ward: FolderSource) -> None:
    put(ward.root / "a.png")
    found = ward.find("a.png")
    assert found is not None
    ward.local_copy("a.png").unlink()
    with pytest.raises(OutOfReach):
        ward.read("a.png", found.revision, Limits())
    (ward.root / MARKER).touch()
    with pytest.raises(Unreadable):
        ward.read("a.png", found.revision, Limits())


def test_files_of_a_watched_folder_are_not_ours_to_delete(ward: FolderSource) -> None:
    put(ward.root / "a.png")
    with pytest.raises(WorkFailed, match="not ours to delete"):
        ward.delete("a.png")
    assert (ward.root / "a.png").exists()


def test_a_submitted_file_is_copied_under_its_name_and_may_be_deleted(chosen: Settings, tmp_path: Path) -> None:
    taker = submitted.of(sources.build(chosen))
    paths = [taker.take(put(tmp_path / folder / "a.png", folder.encode())) for folder in ("one", "two")]
    assert [taker.local_copy(path).read_bytes() for path in paths] == [b"one", b"two"]
    assert all(path.endswith("/a.png") for path in paths)
    taker.delete(paths[0])
    assert [taker.exists(path) for path in paths] == [False, True]
    assert not taker.local_copy(paths[0]).parent.exists()
    taker.delete(paths[0])  # a second time is no error


def test_a_copy_on_another_host_is_not_taken_for_gone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "submitted").mkdir(parents=True)
    alone = submitted.of(sources.build(settings.load(home)))
    one_of_many = submitted.of(sources.build(settings.load(home, database_url=POSTGRES)))
    assert alone.exists("2026-01-01/x/a.png") is False
    assert one_of_many.exists("2026-01-01/x/a.png") is None


def test_only_what_is_the_systems_own_is_made_before_it_starts(chosen: Settings, tmp_path: Path) -> None:
    (tmp_path / "ward").rmdir()
    (tmp_path / "home").mkdir()
    for source in sources.build(chosen).values():
        source.prepare()
    assert (tmp_path / "home" / "submitted").is_dir()
    assert not (tmp_path / "ward").exists(), "it may be the mount point of a share that is away"


def test_a_file_of_this_host_is_known_by_its_path_in_the_source_that_holds_it(ward: FolderSource) -> None:
    assert ward.locate(ward.root / "sub" / "a.png") == "sub/a.png"
    assert ward.locate(ward.root.parent / "a.png") is None


def test_asking_where_images_lie_imports_neither_a_watcher_nor_a_decoder() -> None:
    program = "import sys, shared.sources; print(*sorted({'watchdog', 'numpy', 'PIL', 'pydicom'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=TOP, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
