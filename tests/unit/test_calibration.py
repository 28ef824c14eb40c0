import numpy as np
import pytest

from shared.base.errors import WorkFailed
from shared.statistics.metrics import NAMES, Answers, confusion
from trainer.calibration import RECALL_GOAL, RECALL_TARGET, RECALL_UNDER_CHANGES, choose_threshold, examine
from trainer.robustness import Changed


def answers(patients: int, images: int = 1, noise: float = 1.5, seed: int = 0) -> Answers:
    """Half of the patients ill, so many images each, logits apart by 2 with normal noise."""
    generator = np.random.default_rng(seed)
    whose = np.repeat(np.arange(patients), images)
    labels = (whose % 2).astype(np.uint8)
    logits = 2.0 * labels - 1.0 + noise * generator.normal(size=len(labels))
    probabilities = 1 / (1 + np.exp(-logits))
    return Answers(labels, logits, probabilities, probabilities >= 0.5, tuple(f"p{number}" for number in whose))


def test_the_threshold_is_the_largest_that_finds_enough_pneumonias() -> None:
    labels = np.array([0] * 100 + [1] * 100, np.uint8)
    probabilities = np.concatenate([np.linspace(0.0, 0.5, 100), np.linspace(0.01, 1.0, 100)])
    threshold = choose_threshold(probabilities, labels, recall=0.9)
    called = probabilities >= threshold
    assert called[labels == 1].mean() == pytest.approx(0.9)
    assert (probabilities > threshold)[labels == 1].mean() < 0.9
    assert choose_threshold(probabilities, labels, recall=1.0) == pytest.approx(0.01)


def test_a_threshold_chosen_on_some_patients_finds_enough_pneumonias_of_others() -> None:
    assert RECALL_TARGET > RECALL_GOAL
    reached = 0
    for seed in range(100):
        chosen, unseen = answers(1000, seed=seed), answers(20_000, seed=1000 + seed)
        threshold = choose_threshold(chosen.logits, chosen.labels)
        reached += (unseen.logits >= threshold)[unseen.labels == 1].mean() >= RECALL_GOAL
    assert reached >= 85


def test_an_examination_calibrates_chooses_a_threshold_and_measures_across_patients() -> None:
    given = answers(400, images=2)
    found = examine(given.logits, given.labels, given.patients)
    assert found.calibration.slope > 0
    assert 0 < found.threshold < 1
    assert found.metrics["recall_at_threshold"] >= RECALL_TARGET
    assert set(NAMES) <= set(found.metrics)
    assert found.metrics["recall"]["low"] <= found.metrics["recall"]["value"] <= found.metrics["recall"]["high"]
    assert found.metrics["confusion"] == confusion(found.answers)
    assert (found.metrics["images"], found.metrics["patients"]) == (800, 400)


def test_a_network_that_calls_the_healthy_ill_is_not_calibrated() -> None:
    given = answers(100)
    with pytest.raises(WorkFailed, match="cannot tell the classes apart"):
        examine(-given.logits, given.labels, given.patients)


def test_the_threshold_holds_under_the_changes_of_other_sites_too() -> None:
    given = answers(400, noise=0.5)
    rows = np.arange(0, len(given), 3)
    is_ill = given.labels[rows] == 1
    darker = given.logits[rows] - 0.8  # every score is lower where pictures are darker
    alone = examine(given.logits, given.labels, given.patients)
    found = examine(given.logits, given.labels, given.patients, Changed(rows, {"darker": darker}))
    called = np.array([found.calibration.probability(float(logit)) for logit in darker]) >= found.threshold
    assert called[is_ill].mean() >= RECALL_UNDER_CHANGES
    assert found.metrics["specificity_at_threshold"] < alone.metrics["specificity_at_threshold"], "which has its price"
    assert found.not_held == ()
    assert found.metrics["changes"] == 1


@pytest.mark.parametrize("what", ["noise alone", "scores far lower"])
def test_a_change_that_no_threshold_can_hold_is_named_and_does_not_make_every_image_ill(what: str) -> None:
    given = answers(400, noise=0.7)
    rows = np.arange(len(given))
    noise = np.random.default_rng(1).normal(size=len(given)) * 3
    changed = {"noise alone": noise, "scores far lower": given.logits - 5.0}[what]
    found = examine(given.logits, given.labels, given.patients, Changed(rows, {what: changed}))
    assert found.not_held == (what,)
    assert found.metrics["changes_not_held"] == [what]
    assert found.metrics["specificity_at_threshold"] > 0.8
