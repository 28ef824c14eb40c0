"""Shares of a sample whose images were drawn with unequal probabilities."""

import numpy as np
import pytest

from shared.statistics import weighted
from shared.statistics.intervals import clopper_pearson


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_with_equal_weights_and_no_miss_the_bound_is_the_exact_one() -> None:
    share = weighted.estimate(np.ones(59, bool), np.full(59, 20.0), names(59))
    assert share.value == 1.0
    assert share.low == pytest.approx(clopper_pearson(1.0, 59, 0.90)[0])
    assert share.low >= 0.95


def test_a_miss_that_would_have_weighed_more_lowers_the_bound_where_none_was_drawn() -> None:
    hits, weights = np.ones(59, bool), np.full(59, 20.0)
    low = weighted.estimate(hits, weights, names(59), miss_weight=50.0).low
    assert low < 0.90
    needed = weighted.positives_needed(0.95, 2.5)
    assert weighted.positives_needed(0.95) == 59 < needed
    proved = weighted.estimate(np.ones(needed, bool), np.full(needed, 20.0), names(needed), miss_weight=50.0)
    assert proved.low >= 0.95


def test_ten_images_of_one_patient_say_no_more_than_one() -> None:
    hits, weights = np.ones(10, bool), np.ones(10)
    assert weighted.estimate(hits, weights, ["a"] * 10).effective == pytest.approx(1.0)
    assert weighted.estimate(hits, weights, ["a"] * 10).low < weighted.estimate(hits, weights, names(10)).low


def test_the_estimate_is_that_of_the_population_which_the_weights_stand_for() -> None:
    hits = np.array([True] * 10 + [False] * 2)
    weights = np.array([20.0] * 10 + [50.0] * 2)
    assert weighted.estimate(hits, weights, names(12)).value == pytest.approx(200 / 300)


def test_those_who_were_read_stand_for_all_of_their_cell_and_for_no_other() -> None:
    inclusion, cells = np.array([0.02] * 4 + [0.05] * 2), np.array([0] * 4 + [1] * 2)
    weights = weighted.respond(inclusion, cells, np.array([True, False, False, True, True, False]))
    assert weights.tolist() == pytest.approx([100.0, 0.0, 0.0, 100.0, 40.0, 0.0])


def test_of_nothing_nothing_is_known() -> None:
    share = weighted.estimate(np.zeros(0, bool), np.zeros(0), [])
    assert (share.value, share.low, share.high) == (None, 0.0, 1.0)


@pytest.mark.parametrize(("recall", "positives"), [(0.97, 2000), (0.90, 2000), (0.80, 8000)])
def test_the_bound_holds_in_95_of_100_samples(recall: float, positives: int) -> None:
    """Of found positives every twentieth is drawn, of missed ones every fiftieth."""
    generator = np.random.default_rng(3)
    inclusion = np.where(np.arange(positives) < recall * positives, 0.05, 0.02)
    rounds, above = 200, 0
    for _ in range(rounds):
        drawn = generator.random(positives) < inclusion
        hits, weights = inclusion[drawn] == 0.05, 1 / inclusion[drawn]
        above += weighted.estimate(hits, weights, names(len(hits)), hit_weight=20.0, miss_weight=50.0).low > recall
    assert above <= 0.05 * rounds + 3 * np.sqrt(rounds * 0.05 * 0.95)
