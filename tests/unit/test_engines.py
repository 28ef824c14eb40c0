"""One network, two engines."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.base.errors import BrokenModel
from shared.base.settings import EngineName
from shared.imaging import Limits, Preprocessing, prepare
from shared.models import engines, manifest, registry
from shared.models.engines import engine
from shared.models.engines.litert import LiteRTNetwork
from tests.models import make_linear_version
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


def reference_logits(folder: Path) -> tuple[float, ...]:
    export = manifest.read(folder).export("litert")
    assert export is not None
    assert export.reference_logits is not None
    return export.reference_logits


def with_reference_logits(folder: Path, *logits: float) -> manifest.Manifest:
    found = manifest.read(folder)
    exports = [
        export.model_copy(update={"reference_logits": logits}) if export.is_converted else export
        for export in found.exports
    ]
    manifest.write(folder, found.model_copy(update={"exports": tuple(exports)}))
    return manifest.read(folder)


def test_where_litert_gives_different_results_tensorflow_takes_over(folder: Path) -> None:
    first, *others = reference_logits(folder)
    found = with_reference_logits(folder, first + 0.02, *others)
    assert engines.load(folder, found, "auto").device == "cpu"
    with pytest.raises(
        BrokenModel, match="different results with LiteRT on this host than with TensorFlow where it was"
    ):
        engines.load(folder, found, "litert")


def test_where_litert_gives_different_results_and_tensorflow_is_missing_the_version_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "ai_edge_litert")
    with pytest.raises(BrokenModel, match="the extra `network`"):
        engines.load(folder, with_reference_logits(folder, 9.0, 9.0, 9.0, 9.0), "auto")


def test_reference_logits_of_another_number_are_no_manifest(folder: Path) -> None:
    with pytest.raises(BrokenModel, match=r"exports\.1\.reference_logits"):
        with_reference_logits(folder, 0.0, 0.0)


def test_a_gpu_without_tensorflow_does_not_keep_litert_from_screening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr(engines, "GPUS", tmp_path)
    installed(monkeypatch, "ai_edge_litert")
    assert registry.load_bundled("auto").network.device == "cpu, LiteRT"


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Of what the engines need, these packages alone."""
    monkeypatch.setattr(engine, "is_installed", lambda package: package in packages)


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
        LiteRTNetwork(data, Preprocessing(width=64, height=64))


def test_a_worker_on_cpus_needs_no_tensorflow() -> None:
    load = "from shared.models import registry; registry.load_bundled('auto')"
    code = f"import sys; {load}; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False"], done.stderr


def test_the_reference_pixels_are_the_same_on_every_host() -> None:
    found = engines.reference_pixels(Preprocessing(width=128, height=96, channels=3))
    assert (found.shape, found.dtype) == ((4, 96, 128, 3), np.uint8)
    assert manifest.sha256(found.tobytes()) == REFERENCE_PIXELS


REFERENCE_PIXELS = "e98c1a5b3ac7b5501b5af33a02c11e9669af05163707c0a696c085d87ba7b432"


def test_a_version_whose_engine_this_program_does_not_have_is_refused_with_its_name(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    found = manifest.read(version)
    exports = (found.exports[0].model_copy(update={"engine": "onnx"}),)
    with pytest.raises(BrokenModel, match="is for onnx: this program runs litert, keras, linear"):
        engines.load(version, found.model_copy(update={"exports": exports}))


def test_an_export_for_an_engine_that_this_program_does_not_have_is_left_to_others(tmp_path: Path) -> None:
    version = make_linear_version(tmp_path, "v1")
    found = manifest.read(version)
    exports = (found.exports[0].model_copy(update={"engine": "onnx"}), *found.exports)
    assert engines.load(version, found.model_copy(update={"exports": exports}), "auto").device == "cpu"


@pytest.mark.parametrize("setting", ["auto", "tensorflow", "litert"])
def test_a_version_without_a_file_for_the_engine_asked_for_runs_with_the_one_it_has(
    tmp_path: Path, setting: EngineName
) -> None:
    version = make_linear_version(tmp_path, "v1")
    assert engines.load(version, manifest.read(version), setting).device == "cpu"


def test_each_engine_is_one_record_under_its_name() -> None:
    assert {name: (record.name, record.file) for name, record in engines.ENGINES.items()} == {
        "litert": ("litert", "network.tflite"),
        "keras": ("keras", "network.keras"),
        "linear": ("linear", "weights.npy"),
    }
