import dataclasses

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as reference

from shared.statistics.intervals import beta_quantile, clopper_pearson, incomplete_beta
from shared.statistics.metrics import NAMES, Answers, auc, confusion, measure, rates, value


def answers(patients: int, images: int = 1, noise: float = 1.5, seed: int = 0) -> Answers:
    """Half of the patients ill, so many images each, logits apart by 2 with normal noise."""
    generator = np.random.default_rng(seed)
    whose = np.repeat(np.arange(patients), images)
    labels = (whose % 2).astype(np.uint8)
    logits = 2.0 * labels - 1.0 + noise * generator.normal(size=len(labels))
    probabilities = 1 / (1 + np.exp(-logits))
    return Answers(labels, logits, probabilities, probabilities >= 0.5, tuple(f"p{number}" for number in whose))


def repeated(few: Answers, times: int, names: str = "{name}") -> Answers:
    """The same images several times over; a name with {copy} in it makes every copy another patient."""
    patients = (names.format(name=name, copy=copy) for copy in range(times) for name in few.patients)
    labels, logits, probabilities, decisions = (
        np.tile(array, times) for array in (few.labels, few.logits, few.probabilities, few.decisions)
    )
    return Answers(labels, logits, probabilities, decisions, tuple(patients))


def test_every_figure_lies_in_its_interval() -> None:
    for seed in range(5):
        figures = measure(answers(100, seed=seed))
        assert tuple(figures) == NAMES
        for name, figure in figures.items():
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1, name


def test_the_figures_are_those_of_scikit_learn() -> None:
    given = answers(301)
    rounded = np.round(given.logits, 1)  # with ties
    given = dataclasses.replace(given, logits=rounded, decisions=rounded >= 0.25)
    found = {name: figure["value"] for name, figure in measure(given, rounds=10).items()}
    labels, called = given.labels, given.decisions
    assert found["auc"] == pytest.approx(reference.roc_auc_score(labels, rounded))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, called))
    assert found["recall"] == pytest.approx(reference.recall_score(labels, called))
    assert found["specificity"] == pytest.approx(reference.recall_score(labels, called, pos_label=0))
    assert found["precision"] == pytest.approx(reference.precision_score(labels, called))
    assert found["f1"] == pytest.approx(reference.f1_score(labels, called))
    assert found["brier"] == pytest.approx(reference.brier_score_loss(labels, given.probabilities))


def test_more_patients_make_every_interval_narrower() -> None:
    few, many = measure(answers(60)), measure(answers(1500))
    for name in NAMES:
        assert many[name]["high"] - many[name]["low"] < few[name]["high"] - few[name]["low"], name


def test_copies_of_a_patients_images_do_not_narrow_an_interval_but_new_patients_do() -> None:
    few = answers(60)
    alone = measure(few)
    for name, figure in measure(repeated(few, 5)).items():
        assert figure == pytest.approx(alone[name]), name
    others = measure(repeated(few, 5, "{name}-{copy}"))
    assert others["auc"]["high"] - others["auc"]["low"] < 0.7 * (alone["auc"]["high"] - alone["auc"]["low"])


def test_the_order_of_the_images_changes_nothing() -> None:
    given = answers(80, images=2)
    order = np.random.default_rng(1).permutation(len(given))
    labels, logits, probabilities, decisions = (
        array[order] for array in (given.labels, given.logits, given.probabilities, given.decisions)
    )
    patients = tuple(given.patients[row] for row in order)
    shuffled = measure(Answers(labels, logits, probabilities, decisions, patients))
    for name, figure in measure(given).items():
        assert figure == pytest.approx(shuffled[name]), name


def test_an_interval_holds_the_true_figure_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        figure = measure(answers(200, images=2, seed=seed), rounds=400)["recall"]
        held += figure["low"] <= 0.7475 <= figure["high"]  # P(normal < 1 / 1.5)
    assert held >= 180


def test_a_perfect_version_is_never_wrong_and_a_random_one_knows_nothing() -> None:
    labels = np.tile(np.array([0, 1], np.uint8), 200)
    names = tuple(f"p{number}" for number in range(400))
    sure = labels.astype(float)
    perfect = measure(Answers(labels, sure, sure, labels == 1, names))
    assert all(figure["value"] == (0 if name in ("brier", "ece") else 1) for name, figure in perfect.items())
    guessed = np.random.default_rng(3).random(400)
    random = measure(Answers(labels, guessed, guessed, guessed >= 0.5, names))
    assert random["auc"]["low"] < 0.5 < random["auc"]["high"]
    assert random["accuracy"]["value"] == pytest.approx(0.5, abs=0.1)


def test_a_version_that_calls_nothing_pneumonia_has_figures_all_the_same() -> None:
    given = answers(40)
    figures = measure(dataclasses.replace(given, decisions=np.zeros(len(given), np.bool_)))
    assert (figures["recall"]["value"], figures["precision"]["value"], figures["f1"]["value"]) == (0, 0, 0)
    assert figures["specificity"]["value"] == 1


def test_rounds_without_one_of_the_classes_do_not_spoil_an_interval() -> None:
    figures = measure(answers(4))
    assert all(np.isfinite(list(figure.values())).all() for figure in figures.values())


def test_the_calibration_error_is_the_mean_gap_between_what_was_said_and_what_was() -> None:
    labels = np.tile(np.array([0, 1], np.uint8), 100)
    said = np.full(200, 0.9)
    figures = measure(Answers(labels, said, said, said >= 0.5, tuple(f"p{number}" for number in range(200))))
    assert figures["ece"]["value"] == pytest.approx(0.4)
    assert figures["ece"]["low"] < 0.4 < figures["ece"]["high"]


def test_a_confusion_matrix_counts_every_image_once() -> None:
    given = answers(100)
    counts = confusion(given)
    assert sum(counts.values()) == 100
    assert counts["true_positive"] + counts["false_negative"] == 50
    assert counts["true_positive"] == int((given.decisions & (given.labels == 1)).sum())


def test_figures_are_read_with_and_without_an_interval() -> None:
    assert value(0.5) == value({"value": 0.5, "low": 0.4, "high": 0.6}) == 0.5
    assert value(None) is value("0.5") is value({}) is None


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1.0, 30.0), (31.0, 1.0), (7.0, 2.5), (500.0, 13.0), (3000.0, 1.0)])
def test_the_incomplete_beta_function_and_its_inverse_are_those_of_scipy(a: float, b: float) -> None:
    for x in (0.0, 1e-9, 0.02, 0.3, 0.5, 0.77, 0.98, 1 - 1e-9, 1.0):
        assert incomplete_beta(x, a, b) == pytest.approx(special.betainc(a, b, x), rel=1e-9, abs=1e-14)
    for probability in (0.001, 0.025, 0.5, 0.975):
        assert beta_quantile(probability, a, b) == pytest.approx(stats.beta.ppf(probability, a, b), rel=1e-8)


@pytest.mark.parametrize(("successes", "trials"), [(30, 30), (0, 30), (29, 30), (1, 1), (0, 1), (500, 1000)])
def test_an_exact_interval_is_that_of_scipy(successes: int, trials: int) -> None:
    low, high = clopper_pearson(successes / trials, trials)
    exact = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_where_every_answer_is_right_the_interval_still_says_how_few_were_asked() -> None:
    labels = np.tile(np.array([0, 1], np.uint8), 30)
    sure = labels.astype(float)
    figures = measure(Answers(labels, sure, sure, labels == 1, tuple(f"p{number}" for number in range(60))))
    for name in ("recall", "specificity", "precision"):
        assert (figures[name]["value"], figures[name]["high"]) == (1.0, 1.0)
        assert figures[name]["low"] == pytest.approx(0.8843, abs=1e-4), "30 of 30"
    assert figures["accuracy"]["low"] == pytest.approx(0.9404, abs=1e-4), "60 of 60"
    never = dataclasses.replace(
        Answers(labels, sure, sure, labels == 1, tuple(f"p{number}" for number in range(60))),
        decisions=np.zeros(60, np.bool_),
    )
    found = measure(never)
    assert (found["recall"]["low"], found["recall"]["high"]) == (0.0, pytest.approx(1 - 0.8843, abs=1e-4))
    assert (found["precision"]["low"], found["precision"]["high"]) == (0.0, 1.0), "nobody was called ill"


def test_images_of_one_patient_count_once_in_an_exact_interval() -> None:
    labels = np.tile(np.array([0, 1], np.uint8), 50)
    sure = labels.astype(float)
    patients = tuple(f"p{number % 10}" for number in range(100))
    figures = measure(Answers(labels, sure, sure, labels == 1, patients))
    assert figures["recall"]["low"] == pytest.approx(clopper_pearson(1.0, 5)[0])


def test_the_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    is_ill = np.array([True, False, True, False])
    assert auc(np.array([0.9, 0.5, 0.5, 0.1]), is_ill) == (1 + 1 + 0.5 + 1) / 4
    assert auc(np.array([0.9, 0.5]), np.array([True, True])) is None
    given = answers(301)
    assert auc(given.logits, given.labels == 1) == pytest.approx(reference.roc_auc_score(given.labels, given.logits))


def test_recall_and_specificity_of_a_missing_class_are_not_there() -> None:
    decisions = np.array([True, False, False])
    assert rates(decisions, np.array([True, True, False])) == (0.5, 1.0)
    assert rates(decisions, np.array([True, True, True])) == (1 / 3, None)
    assert rates(decisions, np.array([False, False, False])) == (None, 2 / 3)
