"""Random samples within strata of score."""

import numpy as np
import pytest

from shared.statistics import strata


def population(count: int, seed: int = 1) -> tuple[strata.Numbers, strata.Floats]:
    """Few are positive, and most are surely negative, as where everybody is screened."""
    probabilities = np.random.default_rng(seed).beta(0.3, 2.0, count)
    return strata.stratify(probabilities, np.zeros(count)), probabilities


def test_fifty_nine_positives_without_a_miss_prove_a_recall_of_095_and_fifty_eight_do_not() -> None:
    assert strata.positives_needed() == 59
    assert 0.05 ** (1 / 59) >= 0.95 > 0.05 ** (1 / 58)


def test_strata_are_quantiles_also_where_all_scores_are_the_same() -> None:
    assert np.bincount(strata.stratify(np.full(100, 1.0), np.arange(100.0))).tolist() == [20] * 5
    parted = strata.stratify(np.array([0.9, 0.1, 0.5, 0.3, 0.7]), np.zeros(5))
    assert parted.tolist() == [4, 0, 2, 1, 3]


@pytest.mark.parametrize("size", [5, 59, 300, 999, 1000, 5000])
def test_a_draw_has_as_many_images_as_were_asked_for_some_of_each_stratum_and_none_twice(size: int) -> None:
    parted, probabilities = population(1000)
    sizes = strata.allocate(parted, probabilities, size)
    assert sizes.sum() == min(size, 1000)
    assert (sizes >= 1).all()
    assert (sizes <= 200).all()
    sample = strata.draw(parted, sizes, 7)
    assert len(set(sample.chosen.tolist())) == len(sample.chosen) == sizes.sum()


def test_uncertain_scores_are_drawn_more_often_and_no_weight_is_far_above_another() -> None:
    parted, probabilities = population(10_000)
    sizes = strata.allocate(parted, probabilities, 500)
    assert sizes[4] > sizes[0]
    assert sizes[4] / sizes[0] < 1.7


def test_the_size_is_what_the_expected_prevalence_needs() -> None:
    parted, probabilities = population(10_000)
    size = strata.size_for(parted, probabilities, 59)
    expected = [
        strata.expected_positives(parted, probabilities, strata.allocate(parted, probabilities, count))
        for count in (size - 1, size)
    ]
    assert expected[0] < 59 <= expected[1]
    assert strata.size_for(parted[:100], np.full(100, 0.01), 59) == 100, "never more than there are"


def test_the_same_seed_draws_the_same_and_another_seed_others() -> None:
    parted, probabilities = population(1000)
    sizes = strata.allocate(parted, probabilities, 50)
    first, again, other = (strata.draw(parted, sizes, seed).chosen.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_each_image_is_drawn_as_often_as_its_stored_probability_says() -> None:
    parted, probabilities = population(200)
    sizes = strata.allocate(parted, probabilities, 40)
    counts, stored = np.zeros(200), np.zeros(200)
    for seed in range(3000):
        sample = strata.draw(parted, sizes, seed)
        counts[sample.chosen] += 1
        stored[sample.chosen] = sample.inclusion
    assert np.abs(counts / 3000 - stored).max() < 5 * np.sqrt(0.25 / 3000)
    assert abs((1 / stored[sample.chosen]).sum() - 200) < 1e-9, "the weights add up to the population"


def test_the_order_of_a_draw_says_nothing_about_the_score() -> None:
    parted, probabilities = population(1000)
    sample = strata.draw(parted, strata.allocate(parted, probabilities, 400), 3)
    halves = probabilities[sample.chosen[:200]].mean(), probabilities[sample.chosen[200:]].mean()
    assert abs(halves[0] - halves[1]) < 0.1
