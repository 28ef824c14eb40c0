"""One network, two engines."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared import inference, manifest, registry
from shared.errors import BrokenModel
from shared.imaging import Limits, Preprocessing, prepare
from tests.system import SAMPLES


def test_both_engines_say_the_same_of_the_specimens_and_a_gpu_decides_for_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lite = registry.load_bundled("litert")
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr(inference, "GPUS", tmp_path)
    whole = registry.load_bundled("auto")
    assert (lite.network.device, whole.network.device) == ("cpu, LiteRT", "cpu")
    files = sorted(SAMPLES.glob("*.jpeg"))
    batch = np.stack([prepare(file.read_bytes(), lite.manifest.preprocessing, Limits()) for file in files])
    found = lite.network.logits(batch)
    assert found.shape == (len(files),)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, whole.network.logits(batch), atol=1e-4)


def test_a_host_where_litert_answers_otherwise_refuses_the_version_and_says_what_to_set(tmp_path: Path) -> None:
    folder = tmp_path / registry.bundled().name
    shutil.copytree(registry.bundled(), folder)
    found = manifest.read(folder)
    assert found.lite is not None
    trial = (found.lite.trial[0] + 0.02, *found.lite.trial[1:])
    manifest.write(folder, found.model_copy(update={"lite": found.lite.model_copy(update={"trial": trial})}))
    with pytest.raises(BrokenModel, match="set `engine` to tensorflow"):
        inference.load(folder, manifest.read(folder), "auto")


def test_a_network_of_another_size_than_the_manifest_says_is_refused() -> None:
    with pytest.raises(BrokenModel, match=r"\[1, 128, 128, 1\]"):
        inference.LiteNetwork(registry.bundled() / "network.tflite", Preprocessing(width=64, height=64))


def test_a_worker_on_cpus_needs_no_tensorflow() -> None:
    code = "import sys; from shared import registry; registry.load_bundled('auto'); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False"], done.stderr


def test_the_pixels_of_the_trial_are_the_same_everywhere() -> None:
    found = inference.trial_pixels(Preprocessing(width=128, height=96, channels=3))
    assert (found.shape, found.dtype) == ((4, 96, 128, 3), np.uint8)
    assert manifest.sha256(found.tobytes()) == TRIAL


TRIAL = "e98c1a5b3ac7b5501b5af33a02c11e9669af05163707c0a696c085d87ba7b432"
