"""The gate on made-up probabilities, and on small versions of real folders."""

import json
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from actions.comparison import Ground, Side
from actions.verdict import Verdict
from actions.verdict import judge as judge_ground
from shared.base.errors import BrokenModel, WrongSettings
from shared.models import training_images
from shared.models.engines import LINEAR_FILE
from shared.models.manifest import sha256
from tests.models import SIZE, describe, make_linear_version, published
from trainer import gate
from trainer.datasets import is_held_out
from trainer.gate import Sample

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


def judge(
    champion: Side | None,
    challenger: Side,
    labels: NDArray[np.uint8],
    patients: Sequence[str],
    seed: int = 1,
    earlier: Sequence[Side] = (),
) -> Verdict:
    return judge_ground(champion, challenger, Ground(labels, patients), seed, earlier=earlier)


def held_out(folder: Path) -> list[Sample]:
    return [Sample(folder, "held-out patients")]


def test_a_challenger_that_is_better_passes() -> None:
    verdict = judge(side("old", missed=4), side("new", missed=1), LABELS, PATIENTS, 1)
    assert verdict.passed
    assert verdict.failed == ()
    (found,) = verdict.comparisons
    assert (found.other.version, found.role) == ("old", "champion")
    assert found.recall.value == pytest.approx(3 / ILL)
    assert found.recall.low <= found.recall.value <= found.recall.high
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
    worse = side("new")
    worse.probabilities[-50:] = 0.99
    verdict = judge(side("old", false_alarms=100), worse, LABELS, PATIENTS, 1)
    assert verdict.comparisons[0].is_recall_kept
    (sentence,) = verdict.failed
    assert "AUC" in sentence and "old (champion)" in sentence


def test_a_version_whose_threshold_calls_everything_ill_is_refused_with_a_sentence() -> None:
    everything = Side("all", side("all").probabilities, 0.00001)
    verdict = judge(side("old"), everything, LABELS, PATIENTS)
    assert (verdict.challenger.recall, verdict.challenger.specificity) == (1.0, 0.0)
    assert verdict.comparisons[0].is_recall_kept and verdict.comparisons[0].is_auc_kept
    nothing, specificity = verdict.failed
    assert nothing.startswith("At its threshold of 1e-05 it calls every image PNEUMONIA")
    assert "the lower bound of the difference in specificity is" in specificity
    assert "with a threshold of 0.8 in place of 1e-05, the difference in specificity would be +0.0500" in specificity


def test_a_version_that_calls_everything_ill_is_refused_where_nothing_is_live_and_where_the_live_one_does_too() -> None:
    everything = Side("all", side("all").probabilities, 0.00001)
    assert "calls every image PNEUMONIA" in judge(None, everything, LABELS, PATIENTS).failed[0]
    assert not judge(everything, Side("again", everything.probabilities, 0.0), LABELS, PATIENTS).passed
    (sentence,) = judge(None, side("first", false_alarms=120), LABELS, PATIENTS).failed
    assert sentence == (
        "Its specificity at its threshold of 0.5 is 0.4000; at least 0.5 is needed where there is no live version to "
        "compare it with."
    )


def test_a_challenger_that_loses_too_much_specificity_is_refused_by_the_champion_and_not_by_an_earlier_version() -> (
    None
):
    sure, unsure = side("sure", false_alarms=0), side("unsure", missed=2, false_alarms=24)
    verdict = judge(sure, unsure, LABELS, PATIENTS)
    assert not verdict.comparisons[0].is_specificity_kept
    assert verdict.comparisons[0].specificity.value == pytest.approx(-0.12)
    once = Side("once", unsure.probabilities, 0.75)
    verdict = judge(side("old", missed=3, false_alarms=24), unsure, LABELS, PATIENTS, earlier=[once])
    assert (verdict.comparisons[1].specificity.value, verdict.passed) == (pytest.approx(-0.12), True), (
        "an earlier version's threshold may have bought its specificity with misses"
    )


def test_what_a_threshold_costs_is_told_from_what_the_network_costs() -> None:
    """At the champion's recall the challenger has its specificity; at its own threshold it has none of it."""
    low = Side("new", side("new", false_alarms=20).probabilities, 0.2)
    equal = judge(side("old", false_alarms=20), low, LABELS, PATIENTS).comparisons[0].at_equal_recall
    assert equal.threshold == pytest.approx(0.8)
    assert (equal.specificity, equal.difference.value) == (1.0, pytest.approx(0.1))
    worse = side("new", missed=2, false_alarms=0)
    equal = judge(side("old", false_alarms=5), worse, LABELS, PATIENTS).comparisons[0].at_equal_recall
    assert (equal.threshold, equal.specificity) == (pytest.approx(0.3), 1.0), "with that threshold it misses nobody"


def test_a_refusal_says_how_many_more_patients_would_decide() -> None:
    """Found more than the champion, and lost three: so few patients cannot tell, four times as many can."""

    def compared(times: int) -> Verdict:
        ill, well = 90 * times, 60 * times
        labels = np.array([1] * ill + [0] * well, np.uint8)
        probabilities = np.where(labels == 1, 0.8, 0.2)
        old, new = probabilities.copy(), probabilities.copy()
        old[: 3 * times] = 0.3
        new[3 * times : 5 * times] = 0.3
        patients = [f"person{number}" for number in range(len(labels))]
        return judge(Side("old", old, 0.5), Side("new", new, 0.5), labels, patients)

    (sentence,) = compared(1).failed
    more = re.search(r"about (\d+) more of them would prove it", sentence)
    assert more and "a difference of +0.0111, as on these 90 patients with PNEUMONIA images" in sentence
    times = 1 + int(more[1]) / 90
    assert 3 < times < 10
    assert compared(round(times) + 1).passed


def test_where_the_difference_itself_is_too_low_more_patients_would_not_help() -> None:
    (sentence,) = judge(side("old", missed=0), side("new", missed=5), LABELS, PATIENTS).failed[:1]
    assert "More patients would not help: a difference of -0.0250" in sentence


def test_images_of_a_sample_count_by_how_many_they_stand_for() -> None:
    weights = np.ones(len(LABELS))
    weights[: 4 * EACH] = 10.0  # the four patients whom the challenger misses were drawn one in ten
    old, new = side("old", missed=2), side("new", missed=4)
    plain = judge(old, new, LABELS, PATIENTS)
    weighted = judge_ground(old, new, Ground(LABELS, PATIENTS, weights))
    assert plain.challenger.recall == pytest.approx(1 - 4 / ILL)
    assert weighted.challenger.recall == pytest.approx(1 - 40 / (ILL + 36))
    assert weighted.comparisons[0].recall.value == pytest.approx(-20 / (ILL + 36))
    assert weighted.challenger.auc < plain.challenger.auc


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
    assert together.recall.value == apart.recall.value
    assert together.recall.low < apart.recall.low


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
    verdict = gate.examine(models, good, [bad], held_out(data), console)
    assert verdict.passed
    assert (verdict.images, verdict.patients) == (80, 80)
    assert (verdict.challenger.recall, verdict.comparisons[0].other.recall) == (1.0, 0.0)
    assert not gate.examine(models, bad, [good], held_out(data), console).passed


def test_a_version_that_was_live_and_does_not_load_any_more_is_noted_and_left_out(tmp_path: Path) -> None:
    data, models = labelled(tmp_path / "data"), tmp_path / "models"
    rows = [published(brightness(models, name)) for name in ("new", "gone", "old")]
    (models / "gone" / LINEAR_FILE).unlink()
    verdict = gate.examine(models, rows[0], rows[1:], held_out(data), Console(file=StringIO()))
    assert [(found.other.version, found.role) for found in verdict.comparisons] == [("old", "champion")]
    told, note = verdict.notes
    assert told.startswith("80 patients in 80 images: 80 images by names as in Kermany's set")
    assert note.startswith("gone could not be compared")
    with pytest.raises(BrokenModel):
        gate.examine(models, rows[1], rows[2:], held_out(data), Console(file=StringIO()))


def test_a_folder_without_held_out_patients_is_no_ground_to_judge_on(tmp_path: Path) -> None:
    for kind in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    fitted = [name for number in range(100) if not is_held_out(name := f"person{number}")]
    for number, kind in enumerate(("NORMAL", "PNEUMONIA")):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / kind / f"{fitted[number]}_1.png")
    row = published(make_linear_version(tmp_path / "models", "v1"))
    with pytest.raises(WrongSettings, match="held out"):
        gate.examine(tmp_path / "models", row, [], held_out(tmp_path / "data"), Console(file=StringIO()))


def test_the_verdict_says_which_version_was_fitted_to_images_that_it_is_measured_on(tmp_path: Path) -> None:
    data, models = labelled(tmp_path / "data"), tmp_path / "models"
    new, old = brightness(models, "new"), brightness(models, "old")
    seen = [path for path in sorted(data.glob("*/*")) if is_held_out(path.name.partition("_")[0])][:3]
    training_images.write(sha256(path.read_bytes()) for path in seen)(old, None)
    training_images.write(["f" * 64])(new, None)
    for version in (new, old):
        describe(version)
    verdict = gate.examine(models, published(new), [published(old)], held_out(data), Console(file=StringIO()))
    told, note = verdict.notes
    assert "80 patients in 80 images" in told
    assert note.startswith("old was fitted to 3 of these images")
