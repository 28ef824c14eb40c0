"""The gate on made-up probabilities, and on small versions of real folders."""

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from actions.verdict import Side, judge
from shared.base.errors import BrokenModel, WrongSettings
from shared.models.engines import LINEAR_FILE
from shared.models.manifest import sha256
from tests.models import SIZE, describe, make_linear_version, published
from trainer import fitted, gate
from trainer.datasets import is_held_out

ILL, WELL, EACH = 200, 100, 2
PATIENTS = tuple(f"person{number // EACH}" for number in range((ILL + WELL) * EACH))
LABELS = np.array([1] * (ILL * EACH) + [0] * (WELL * EACH), np.uint8)


def side(version: str, missed: int = 0, false_alarms: int = 10, threshold: float = 0.5) -> Side:
    """A version that misses the first so many patients, with both their images, and alarms for some who are well."""
    rank = np.linspace(0.0, 0.01, len(LABELS))
    probabilities = np.where(LABELS == 1, 0.8, 0.2) + rank
    probabilities[: missed * EACH] = 0.3
    probabilities[ILL * EACH : ILL * EACH + false_alarms] = 0.7
    return Side(version, probabilities, threshold)


def test_a_challenger_that_is_better_passes() -> None:
    verdict = judge(side("old", missed=4), side("new", missed=1), LABELS, PATIENTS, 1)
    assert verdict.passed
    assert verdict.failed == ()
    (found,) = verdict.comparisons
    assert (found.other.version, found.role) == ("old", "champion")
    assert found.difference == pytest.approx(3 / ILL)
    assert found.low <= found.difference <= found.high
    assert (verdict.images, verdict.patients) == (600, 300)


def test_an_equal_challenger_passes() -> None:
    assert judge(side("old", missed=2), side("new", missed=2), LABELS, PATIENTS, 1).passed


def test_a_challenger_whose_recall_drops_is_refused() -> None:
    verdict = judge(side("old", missed=0, false_alarms=60), side("new", missed=5, false_alarms=0), LABELS, PATIENTS, 1)
    assert not verdict.passed
    assert verdict.challenger.recall >= 0.97
    assert any("lower bound of the difference in recall" in sentence for sentence in verdict.failed)


def test_recall_is_measured_at_each_ones_own_threshold() -> None:
    low = side("new", missed=5)
    assert judge(side("old"), Side("new", low.probabilities, 0.25), LABELS, PATIENTS, 1).challenger.recall == 1.0


def test_a_challenger_below_the_least_recall_is_refused_even_if_it_beats_the_champion() -> None:
    verdict = judge(side("old", missed=20), side("new", missed=10), LABELS, PATIENTS, 1)
    assert verdict.failed == ("Its recall at its threshold is 0.9500; at least 0.97 is needed.",)


def test_a_challenger_with_a_worse_auc_is_refused() -> None:
    worse = Side("new", side("new").probabilities.copy(), 0.05)
    worse.probabilities[-50:] = 0.99
    verdict = judge(side("old"), worse, LABELS, PATIENTS, 1)
    assert verdict.comparisons[0].is_recall_kept
    (sentence,) = verdict.failed
    assert "AUC" in sentence and "old (champion)" in sentence


def test_a_challenger_that_beats_the_champion_but_loses_to_an_earlier_live_version_is_refused() -> None:
    champion, best = side("middle", missed=4, false_alarms=20), side("first", missed=0, false_alarms=2)
    challenger = side("new", missed=3, false_alarms=10)
    assert judge(champion, challenger, LABELS, PATIENTS, 1).passed
    verdict = judge(champion, challenger, LABELS, PATIENTS, 1, earlier=[best])
    assert not verdict.passed
    assert [found.role for found in verdict.comparisons] == ["champion", "earlier"]
    assert all("first (earlier)" in sentence for sentence in verdict.failed)


def test_the_order_of_the_images_changes_nothing() -> None:
    order = np.random.default_rng(3).permutation(len(LABELS))

    def shuffled(one: Side) -> Side:
        return Side(one.version, one.probabilities[order], one.threshold)

    old, new, first = side("old", missed=3), side("new", missed=4), side("first", missed=5, false_alarms=30)
    patients = [PATIENTS[row] for row in order]
    straight = judge(old, new, LABELS, PATIENTS, 7, earlier=[first])
    assert judge(shuffled(old), shuffled(new), LABELS[order], patients, 7, earlier=[shuffled(first)]) == straight


def test_the_same_seed_gives_the_same_verdict() -> None:
    old, new = side("old", missed=1), side("new", missed=4)
    assert judge(old, new, LABELS, PATIENTS, 1) == judge(old, new, LABELS, PATIENTS, 1)


def test_patients_are_drawn_and_not_images() -> None:
    """Whoever takes two images of a patient for two patients believes the interval to be narrower than it is."""
    old, new = side("old", missed=0), side("new", missed=5)
    together = judge(old, new, LABELS, PATIENTS, 1).comparisons[0]
    apart = judge(old, new, LABELS, [str(row) for row in range(len(LABELS))], 1).comparisons[0]
    assert together.difference == apart.difference
    assert together.low < apart.low


@pytest.mark.parametrize("rows", [slice(0, 40), slice(390, 600), slice(380, 420)])
def test_few_patients_of_a_class_make_it_refuse(rows: slice) -> None:
    def cut(one: Side) -> Side:
        return Side(one.version, one.probabilities[rows], one.threshold)

    verdict = judge(cut(side("old")), cut(side("new")), LABELS[rows], PATIENTS[rows], 1)
    assert not verdict.passed
    assert any("30 are needed" in sentence for sentence in verdict.failed)


def test_without_a_champion_its_own_recall_decides() -> None:
    assert judge(None, side("new"), LABELS, PATIENTS, 1).passed
    assert not judge(None, side("new", missed=50), LABELS, PATIENTS, 1).passed


def test_a_verdict_is_kept_as_json() -> None:
    verdict = judge(side("old", missed=4), side("new", missed=10), LABELS, PATIENTS, 1)
    found = json.loads(verdict.as_json())
    assert found["passed"] is False
    assert found["challenger"]["version"] == "new"
    assert found["comparisons"][0]["other"]["recall"] == pytest.approx(0.98)
    assert found["failed"] == list(verdict.failed)


def labelled(folder: Path, patients: int = 40) -> Path:
    """Bright pictures of the ill and dark ones of the well, of patients held out only, and one of somebody else."""
    held_out = [name for number in range(20_000) if is_held_out(name := f"person{number}")][: 2 * patients]
    fitted = next(name for number in range(100) if not is_held_out(name := f"person{number}"))
    noise = np.random.default_rng(0)
    for number, name in enumerate([*held_out, fitted]):
        kind, level = ("PNEUMONIA", 150) if number % 2 else ("NORMAL", 50)
        (folder / kind).mkdir(parents=True, exist_ok=True)
        pixels = (level + noise.integers(0, 50, (64, 64))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / kind / f"{name}_1.png")
    return folder


def brightness(models: Path, name: str, sign: float = 1.0) -> Path:
    """A version that calls bright pictures ill; with sign -1 dark ones."""
    version = make_linear_version(models, name)
    np.save(version / LINEAR_FILE, np.array([sign * 20.0 / SIZE**2] * SIZE**2 + [sign * -9.0], np.float32))
    describe(version)
    return version


def test_versions_are_compared_on_the_held_out_patients_of_a_folder(tmp_path: Path) -> None:
    data, models = labelled(tmp_path / "data"), tmp_path / "models"
    good, bad = published(brightness(models, "good")), published(brightness(models, "bad", -1.0))
    console = Console(file=StringIO())
    verdict = gate.examine(models, good, [bad], data, console)
    assert verdict.passed
    assert (verdict.images, verdict.patients) == (80, 80)
    assert (verdict.challenger.recall, verdict.comparisons[0].other.recall) == (1.0, 0.0)
    assert not gate.examine(models, bad, [good], data, console).passed


def test_a_version_that_was_live_and_does_not_load_any_more_is_noted_and_left_out(tmp_path: Path) -> None:
    data, models = labelled(tmp_path / "data"), tmp_path / "models"
    rows = [published(brightness(models, name)) for name in ("new", "gone", "old")]
    (models / "gone" / LINEAR_FILE).unlink()
    verdict = gate.examine(models, rows[0], rows[1:], data, Console(file=StringIO()))
    assert [(found.other.version, found.role) for found in verdict.comparisons] == [("old", "champion")]
    told, note = verdict.notes
    assert told.startswith("80 patients in 80 images: 80 images by names as in Kermany's set")
    assert note.startswith("gone could not be compared")
    with pytest.raises(BrokenModel):
        gate.examine(models, rows[1], rows[2:], data, Console(file=StringIO()))


def test_a_folder_without_held_out_patients_is_no_ground_to_judge_on(tmp_path: Path) -> None:
    for kind in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    fitted = [name for number in range(100) if not is_held_out(name := f"person{number}")]
    for number, kind in enumerate(("NORMAL", "PNEUMONIA")):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / kind / f"{fitted[number]}_1.png")
    row = published(make_linear_version(tmp_path / "models", "v1"))
    with pytest.raises(WrongSettings, match="held out"):
        gate.examine(tmp_path / "models", row, [], tmp_path / "data", Console(file=StringIO()))


def test_the_verdict_says_which_version_was_fitted_to_images_that_it_is_measured_on(tmp_path: Path) -> None:
    data, models = labelled(tmp_path / "data"), tmp_path / "models"
    new, old = brightness(models, "new"), brightness(models, "old")
    seen = [path for path in sorted(data.glob("*/*")) if is_held_out(path.name.partition("_")[0])][:3]
    fitted.write(sha256(path.read_bytes()) for path in seen)(old, None)
    fitted.write(["f" * 64])(new, None)
    for version in (new, old):
        describe(version)
    verdict = gate.examine(models, published(new), [published(old)], data, Console(file=StringIO()))
    told, note = verdict.notes
    assert "80 patients in 80 images" in told
    assert note.startswith("old was fitted to 3 of these images")
