"""Changes to training images stay within what they say, and equalizing is what serving does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]

# A process of its own: TensorFlow takes half a gigabyte, and warns while it is imported.
MEASURE = """
import json
import keras, numpy as np, tensorflow as tf
from PIL import Image, ImageOps
from trainer import augmentation
from trainer.recipes import Examples

keras.utils.set_random_seed(1)
random = np.random.default_rng(1)
shape = (64, 64, 64, 1)
dim = random.gamma(2.0, 20.0, shape).clip(0, 255).astype(np.uint8)
dark = np.where(random.random(shape) < 0.4, 0, dim).astype(np.uint8)
equalized = np.stack([np.asarray(ImageOps.equalize(Image.fromarray(one[..., 0]))) for one in (*dim, *dark)])[..., None]
ours = augmentation.equalize(tf.constant(np.concatenate([dim, dark]), tf.float32)).numpy()

white = tf.fill((400, 40, 40, 1), 255.0)
framed = augmentation.frame(white).numpy()
sides = np.stack([framed[:, 0, 20, 0], framed[:, 39, 20, 0], framed[:, 20, 0, 0], framed[:, 20, 39, 0]])
all_changes = {
    name: np.asarray(getattr(augmentation, name)(tf.constant(dim, tf.float32)))
    for name in ("turn", "frame", "mark", "shade", "expose", "blur", "add_noise", "compress", "erase")
}
def examples(pixels):
    labels = tf.constant(np.arange(len(pixels)) % 2, tf.float32)[:, tf.newaxis]
    return Examples(tf.constant(pixels, tf.float32), labels, tf.ones_like(labels))

for name in ("augment", "attend_to_middle", "turn_only"):
    all_changes[name] = getattr(augmentation, name)(examples(dim)).pixels.numpy()

# Pictures of one grey each, by which the surroundings of another image, and what is covered, can be told.
greys = np.broadcast_to(np.arange(240, dtype=np.float32)[:, None, None, None] + 1, (240, 64, 64, 1))
before = examples(greys)
after = augmentation.recompose(before)
inside = after.pixels.numpy()[:, 20:40, 20:40, 0].reshape(240, -1)
corner = after.pixels.numpy()[:, 0, 0, 0]
own = greys[:, 0, 0, 0]
is_kept = (inside == own[:, None]).all(axis=1)
is_unsure = after.labels.numpy()[:, 0] == 0.5
print(json.dumps({
    "differs from Pillow by": float(np.abs(ours - equalized).max()),
    "still": float((framed == 255).all(axis=(1, 2, 3)).mean()),
    "black": float((framed == 0).mean(axis=(1, 2, 3)).max()),
    "black on all sides": float((sides == 0).all(axis=0).mean()),
    "shapes": sorted({str(one.shape) for one in all_changes.values()}),
    "least": min(float(one.min()) for one in all_changes.values()),
    "most": max(float(one.max()) for one in all_changes.values()),
    "types": sorted({str(one.dtype) for one in all_changes.values()}),
    "three channels": list(augmentation.augment(examples(np.zeros((2, 32, 32, 3)))).pixels.shape),
    "exchanged": float((is_kept & (corner != own)).mean()),
    "unsure": float(is_unsure.mean()),
    "unsure though the middle is there": int((is_unsure & is_kept & (inside.std(axis=1) == 0) & (corner != own)).sum()),
    "sure though the middle is covered": int((~is_unsure & ~is_kept).sum()),
    "labels kept": bool((after.labels.numpy()[~is_unsure] == before.labels.numpy()[~is_unsure]).all()),
}))
"""


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=TOP,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_equalizing_in_training_is_to_the_last_bit_what_serving_does(measured: dict[str, Any]) -> None:
    assert measured["differs from Pillow by"] == 0


def test_framing_leaves_some_images_alone_and_never_covers_most_of_one(measured: dict[str, Any]) -> None:
    assert 0.1 <= measured["still"] < 0.5
    assert 0.2 < measured["black"] < 0.6


def test_all_sides_are_framed_alike_more_often_than_chance_would(measured: dict[str, Any]) -> None:
    assert 0.1 < measured["black on all sides"] < 0.3  # 0.05 if each side were drawn apart


def test_every_change_keeps_shape_type_and_range_of_grey_values(measured: dict[str, Any]) -> None:
    assert measured["shapes"] == ["(64, 64, 64, 1)"]
    assert measured["types"] == ["float32"]
    assert measured["least"] >= 0
    assert measured["most"] <= 255.01
    assert measured["three channels"] == [2, 32, 32, 3]


def test_surroundings_are_exchanged_or_covered_and_the_label_follows_the_middle(measured: dict[str, Any]) -> None:
    assert 0.3 < measured["exchanged"] < 0.6
    assert measured["labels kept"]


def test_where_the_middle_is_covered_the_network_should_not_know(measured: dict[str, Any]) -> None:
    assert 0.15 < measured["unsure"] < 0.3
    assert measured["sure though the middle is covered"] == 0
    assert measured["unsure though the middle is there"] == 0
