"""One network, two engines."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.base.errors import BrokenModel
from shared.imaging import Limits, Preprocessing, prepare
from shared.models import engines, manifest, registry
from tests.system import SAMPLES


def test_both_engines_say_the_same_of_the_specimens_and_a_gpu_decides_for_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite = registry.load_bundled("litert")
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr(engines, "GPUS", tmp_path)
    whole = registry.load_bundled("auto")
    assert (lite.network.device, whole.network.device) == ("cpu, LiteRT", "cpu")
    files = sorted(SAMPLES.glob("*.jpeg"))
    batch = np.stack([prepare(file.read_bytes(), lite.manifest.preprocessing, Limits()) for file in files])
    found = lite.network.logits(batch)
    assert found.shape == (len(files),)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, whole.network.logits(batch), atol=1e-4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled version."""
    return shutil.copytree(registry.bundled(), tmp_path / registry.bundled().name)


def with_trial(folder: Path, *trial: float) -> manifest.Manifest:
    found = manifest.read(folder)
    assert found.lite is not None
    manifest.write(folder, found.model_copy(update={"lite": found.lite.model_copy(update={"trial": trial})}))
    return manifest.read(folder)


def test_where_litert_answers_otherwise_tensorflow_takes_over(folder: Path) -> None:
    lite = manifest.read(folder).lite
    assert lite is not None
    found = with_trial(folder, lite.trial[0] + 0.02, *lite.trial[1:])
    assert engines.load(folder, found, "auto").device == "cpu"
    with pytest.raises(BrokenModel, match="answers otherwise by LiteRT"):
        engines.load(folder, found, "litert")


def test_where_litert_answers_otherwise_and_tensorflow_is_missing_the_version_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "ai_edge_litert")
    with pytest.raises(BrokenModel, match="the extra `network`"):
        engines.load(folder, with_trial(folder, 9.0, 9.0, 9.0, 9.0), "auto")


def test_a_trial_of_another_number_of_pictures_is_no_manifest(folder: Path) -> None:
    with pytest.raises(BrokenModel, match="trial"):
        with_trial(folder, 0.0, 0.0)


def test_a_gpu_without_tensorflow_does_not_keep_litert_from_screening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr(engines, "GPUS", tmp_path)
    installed(monkeypatch, "ai_edge_litert")
    assert registry.load_bundled("auto").network.device == "cpu, LiteRT"


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Of the engines, these alone."""
    monkeypatch.setattr(engines, "_is_installed", lambda package: package in packages)


def test_a_host_without_a_package_that_a_version_needs_says_which_extra_brings_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(BrokenModel, match="needs keras, which is not installed here: the extra `network`"):
        engines.load(folder, manifest.read(folder), "tensorflow")


def test_a_thread_that_starts_late_runs_the_network_that_was_verified(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 40)
    network = engines.load(folder, manifest.read(folder), "litert")
    shutil.rmtree(folder)
    logits = network.logits(np.zeros((64, 128, 128, 1), np.uint8))
    assert len(set(logits.tolist())) == 1


def test_a_network_that_was_changed_after_it_was_verified_is_refused(folder: Path) -> None:
    found = manifest.read(folder)
    (folder / "network.tflite").write_bytes((folder / "network.tflite").read_bytes() + b"more")
    with pytest.raises(BrokenModel, match="was changed since it was verified"):
        engines.load(folder, found, "litert")


def test_a_network_of_another_size_than_the_manifest_says_is_refused() -> None:
    data = (registry.bundled() / "network.tflite").read_bytes()
    with pytest.raises(BrokenModel, match=r"\[1, 128, 128, 1\]"):
        engines.LiteNetwork(data, Preprocessing(width=64, height=64))


def test_a_worker_on_cpus_needs_no_tensorflow() -> None:
    code = "import sys; from shared import registry; registry.load_bundled('auto'); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False"], done.stderr


def test_the_pixels_of_the_trial_are_the_same_everywhere() -> None:
    found = engines.trial_pixels(Preprocessing(width=128, height=96, channels=3))
    assert (found.shape, found.dtype) == ((4, 96, 128, 3), np.uint8)
    assert manifest.sha256(found.tobytes()) == TRIAL


TRIAL = "e98c1a5b3ac7b5501b5af33a02c11e9669af05163707c0a696c085d87ba7b432"
