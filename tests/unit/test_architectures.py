"""Each network has the size it is said to have, and what is saved of it is what the worker loads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.base.errors import WrongSettings
from tests.plan import short
from trainer import architectures
from trainer.architectures import recipe

TOP = Path(__file__).parents[2]
PUBLISHED = ("screen", "tiny7", "variants", "blocks5", "grey150", "rgb224")
COUNTS = {
    "screen": 716_580,
    "tiny7": 77_633,
    "variants": 5_401_345,
    "variants:depth=2,width=64,dropout=0.3": 5_626_369,
    "blocks5": 2_311_265,
    "grey150": 6_794_881,
    "rgb224": 23_907_650,
    "transfer:MobileNetV2": 2_259_265,
}
"""The counts of tiny7 (all of it trainable), grey150 and rgb224 are published, that of MobileNetV2 is Keras's and 1281.

Those of `variants` and `blocks5` are not published: they are here so that a change is noticed.
"""

# A process of its own: TensorFlow takes half a gigabyte, and warns while it is imported.
BUILD = """
import json, os, sys, tempfile
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from shared.models import manifest
from shared.models.engines import KERAS_FILE, load
from shared.models.manifest import Export, Manifest
from trainer import architectures

found = {}
for name in sys.argv[1:]:
    size = architectures.preprocessing(name)
    shape = (3, size.height, size.width, size.channels)
    model = architectures.build(name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / KERAS_FILE
        model.save(file)
        described = Manifest(
            version="v", created_at=datetime.now(UTC), architecture=name,
            exports=[Export(engine="keras", file=KERAS_FILE)],
            parameters=model.count_params(), preprocessing=size, threshold=0.5, metrics={}, population={}, data={},
            libraries={}, files={KERAS_FILE: manifest.sha256(file.read_bytes())},
        )
        network = load(Path(folder), described)
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    direct = np.asarray(model(pixels.astype(np.float32), training=False))
    found[name] = {
        "parameters": model.count_params(),
        "trainable": sum(int(np.prod(one.shape)) for one in model.trainable_weights),
        "is_compiled": model.compiled,
        "shape": direct.shape,
        "dtype": str(direct.dtype),
        "difference": float(np.abs(direct[:, 0] - network.logits(pixels)).max()),
        "has_sense": bool(np.isfinite(direct).all()),
    }
print(json.dumps(found))

if file := os.environ.get("BACKBONE"):
    import keras

    print(architectures.build("transfer:MobileNet", "imagenet").count_params())
    theirs = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(224, 224, 3))
    theirs.save_weights(file)
    ours = architectures.build("transfer:mobile-net", Path(file)).get_weights()
    print(all(np.array_equal(a, b) for a, b in zip(theirs.get_weights(), ours)))
"""


def python(code: str, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=TOP,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **more},
        capture_output=True,
        text=True,
        timeout=150,
    )


each_network = pytest.mark.parametrize(
    "name", short(["screen", "tiny7", "variants:depth=2,width=64,dropout=0.3", "transfer:MobileNetV2"], COUNTS)
)
"""The default, the smallest, and one of each family."""


@pytest.fixture(scope="module")
def builder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "subprocess.CompletedProcess[str]":
    """The networks that this session's tests ask for; a backbone built without a network, one with weights from a file.

    All in one process, for most of its time goes by until TensorFlow is there.
    """
    items: list[Any] = request.session.items
    asked = dict.fromkeys(item.callspec.params["name"] for item in items if "built" in item.fixturenames)
    folder, nowhere = tmp_path_factory.mktemp("backbones"), "http://127.0.0.1:9"
    more = {"BACKBONE": str(folder / "mobilenet.weights.h5")} if any(map(_needs_backbones, items)) else {}
    done = python(BUILD, *asked, HTTPS_PROXY=nowhere, https_proxy=nowhere, KERAS_HOME=str(folder), **more)
    assert done.returncode == 0, done.stderr
    return done


def _needs_backbones(item: pytest.Item) -> bool:
    return "backbones" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="module")
def built(builder: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(line for line in builder.stdout.splitlines() if line.startswith("{")))
    return found


@pytest.fixture(scope="module")
def backbones(builder: "subprocess.CompletedProcess[str]") -> "subprocess.CompletedProcess[str]":
    return builder


@each_network
def test_each_network_has_the_number_of_parameters_that_it_is_said_to_have(name: str, built: dict[str, Any]) -> None:
    assert built[name]["parameters"] == COUNTS[name]


@pytest.mark.parametrize("name", short(["tiny7"], ["tiny7", "grey150", "rgb224"]))
def test_all_parameters_of_the_published_networks_with_known_counts_are_trainable(
    name: str, built: dict[str, Any]
) -> None:
    assert built[name]["trainable"] == COUNTS[name]


def test_our_own_network_is_small() -> None:
    assert COUNTS["screen"] < 1_000_000


@each_network
def test_what_is_saved_is_what_the_worker_loads(name: str, built: dict[str, Any]) -> None:
    found = built[name]
    assert (found["shape"], found["dtype"]) == ([3, 1], "float32")
    assert found["has_sense"] and not found["is_compiled"]
    assert found["difference"] < 1e-3


def test_a_backbone_whose_weights_cannot_be_fetched_starts_from_random_ones_with_a_warning(
    backbones: "subprocess.CompletedProcess[str]",
) -> None:
    assert backbones.stdout.splitlines()[-2] == "3229889"
    assert "MobileNet starts from random weights" in backbones.stderr


def test_the_weights_of_a_backbone_come_from_a_file_where_one_is_given(
    backbones: "subprocess.CompletedProcess[str]",
) -> None:
    assert backbones.stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize(
    "name", ["nothing", "screen:2", "transfer:", "transfer", "variants:depth=9", "variants:size=3"]
)
def test_a_name_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(WrongSettings):
        architectures.preprocessing(name)


def test_a_variant_is_what_its_name_says_and_defaults_fill_the_rest() -> None:
    assert architectures.variant("variants") == architectures.Variant()
    chosen = architectures.variant("variants:depth=4,dropout=0.3,optimizer=rmsprop")
    assert chosen == architectures.Variant(depth=4, width=128, dropout=0.3, optimizer="rmsprop")
    assert architectures.variant(chosen.name()) == chosen
    assert architectures.preprocessing(chosen.name()).width == 150


def test_the_family_compares_depth_width_dropout_and_both_optimizers() -> None:
    members = [architectures.variant(name) for name in architectures.FAMILY]
    assert len(set(members)) == len(members) > 8
    assert {one.optimizer for one in members} == {"adam", "rmsprop"}
    assert all((recipe(name).batch, recipe(name).epochs) == (32, 12) for name in architectures.FAMILY)


@pytest.mark.parametrize("name", [*PUBLISHED, *architectures.FAMILY, "transfer:EfficientNetV2B0"])
def test_every_name_fits_into_the_name_of_a_version(name: str) -> None:
    version = f"{architectures.file_name(name)}-20260504-0a1b2c3d"
    assert len(version) <= 64
    assert set(version) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")


@pytest.mark.parametrize("name", [name.replace(":NAME", ":MobileNetV2") for name in architectures.NAMES])
def test_each_architecture_is_one_record_that_says_its_pixels_recipe_and_file_name(name: str) -> None:
    record = architectures.ARCHITECTURES[name.partition(":")[0]]
    detail = name.partition(":")[2]
    assert record.preprocessing(detail) == architectures.preprocessing(name)
    assert record.recipe(detail) == architectures.recipe(name)
    assert record.file_name(detail) == architectures.file_name(name)


def test_published_recipes_are_followed() -> None:
    blocks, rgb = recipe("blocks5"), recipe("rgb224")
    assert blocks.keeps_best and blocks.stop_patience
    assert rgb.stop_patience and rgb.reduce_patience
    assert rgb.change is not None and rgb.change.__name__ == "turn_only"
    assert {recipe(f"variants:optimizer={one}").optimizer for one in ("adam", "rmsprop")} == {"adam", "rmsprop"}
    with pytest.raises(WrongSettings):
        recipe("nothing")
