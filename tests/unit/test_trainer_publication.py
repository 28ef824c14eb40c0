from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.base.errors import BrokenModel, WorkFailed
from shared.imaging import Preprocessing
from shared.models import manifest
from shared.models.engines import KERAS_FILE
from shared.models.manifest import Export, Manifest
from trainer.packaging import publish

DAY = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
WEIGHTS = b"weights, as far as this test goes"


def save(path: Path) -> None:
    path.write_bytes(WEIGHTS)


def describe(version: str, files: dict[str, str]) -> Manifest:
    return Manifest(
        version=version,
        created_at=DAY,
        exports=(Export(engine="keras", file=KERAS_FILE),),
        architecture="screen",
        parameters=1,
        preprocessing=Preprocessing(width=16, height=16),
        threshold=0.25,
        metrics={"validation": {"auc": 0.5}},
        population={},
        data={},
        libraries={},
        files=files,
    )


def test_a_published_version_reads_back_and_verifies(tmp_path: Path) -> None:
    folder = publish(tmp_path / "models", "screen", DAY, save, describe)
    found = manifest.read(folder)
    assert found == describe(folder.name, {KERAS_FILE: manifest.sha256(WEIGHTS)})
    assert {path.name for path in folder.iterdir()} == {KERAS_FILE, manifest.NAME}


def test_a_version_is_named_after_its_architecture_day_and_weights(tmp_path: Path) -> None:
    folder = publish(tmp_path, "screen", DAY, save, describe)
    assert folder == tmp_path / f"screen-20260504-{manifest.sha256(WEIGHTS)[:8]}"


def test_weights_changed_after_publication_are_noticed(tmp_path: Path) -> None:
    folder = publish(tmp_path, "screen", DAY, save, describe)
    (folder / KERAS_FILE).write_bytes(b"others")
    with pytest.raises(BrokenModel, match="damaged"):
        manifest.read(folder)


def test_a_publication_that_fails_while_saving_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(WEIGHTS[:4])
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        publish(tmp_path, "screen", DAY, fail, describe)
    assert list(tmp_path.iterdir()) == []


def test_a_publication_interrupted_before_the_rename_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    def interrupt(version: str, files: dict[str, str]) -> Manifest:
        assert not (tmp_path / version).exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, "screen", DAY, save, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_does_not_verify_is_not_published(tmp_path: Path) -> None:
    def lie(version: str, files: dict[str, str]) -> Manifest:
        return describe(version, dict.fromkeys(files, "0" * 64))

    with pytest.raises(BrokenModel):
        publish(tmp_path, "screen", DAY, save, lie)
    assert list(tmp_path.iterdir()) == []


def test_a_published_version_is_never_written_again(tmp_path: Path) -> None:
    folder = publish(tmp_path, "screen", DAY, save, describe)
    before = (folder / manifest.NAME).stat().st_mtime_ns
    with pytest.raises(WorkFailed, match="exists already"):
        publish(tmp_path, "screen", DAY, save, describe)
    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / manifest.NAME).stat().st_mtime_ns == before


def test_what_accompanies_a_version_is_vouched_for_by_its_manifest(tmp_path: Path) -> None:
    seen: list[set[str]] = []

    def step(name: str) -> Callable[[Path, Manifest], None]:
        def write(folder: Path, described: Manifest) -> None:
            seen.append(set(described.files))
            (folder / name).write_text(f"{name} of {described.version}")

        return write

    folder = publish(tmp_path, "screen", DAY, save, describe, [step("roc.png"), step("card.md")])
    found = manifest.read(folder)
    assert seen == [{KERAS_FILE}, {KERAS_FILE, "roc.png"}]
    assert set(found.files) == {KERAS_FILE, "roc.png", "card.md"}
    assert (folder / "card.md").read_text() == f"card.md of {folder.name}"
    (folder / "card.md").write_text("another")
    with pytest.raises(BrokenModel, match=r"card\.md is damaged"):
        manifest.read(folder)


def test_a_publication_that_fails_while_something_is_added_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path, described: Manifest) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        publish(tmp_path, "screen", DAY, save, describe, [fail])
    assert list(tmp_path.iterdir()) == []
