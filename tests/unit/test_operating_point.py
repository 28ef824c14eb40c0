"""Which line and threshold words on a source's images give, and what they prove."""

import numpy as np
import pytest
from scipy import stats

from shared.base.errors import WorkFailed
from shared.statistics.operating_point import Readings, RecallBounds, choose, lower_bound, needed
from shared.statistics.platt import Line, choose_line, fit_line
from shared.statistics.threshold_table import tabulate

OWN = Line(1.0, 0.0)


def log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def words(ill: int, healthy: int, seed: int = 0, shift: float = 0.0, slope: float = 1.0) -> Readings:
    """Logits that are 2 apart in the log-odds that they mean, each of a patient of its own."""
    generator = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [ill, healthy]).astype(np.uint8)
    odds = np.where(labels == 1, 2.0, -2.0) + 2.0 * generator.normal(size=ill + healthy)
    return Readings((odds - shift) / slope, labels, np.ones(len(labels)), tuple(map(str, range(len(labels)))))


def test_fifty_nine_positives_without_a_miss_prove_a_recall_of_095() -> None:
    assert needed(0.95) == 59
    for ill, is_provisional in ((58, True), (59, False)):
        choice = choose(words(ill, 40), 0.95, OWN)
        assert choice.is_provisional is is_provisional
        assert choice.missing == (1 if is_provisional else 0)
        assert choice.provable == pytest.approx(0.05 ** (1 / ill))


def test_the_bound_is_clopper_and_pearsons() -> None:
    for hits, trials in ((59, 59), (90, 93), (1, 20)):
        assert lower_bound(hits / trials, trials) == pytest.approx(stats.beta.ppf(0.05, hits, trials - hits + 1))
    assert lower_bound(0.0, 10) == 0.0


def test_the_threshold_is_the_highest_whose_bound_reaches_the_goal() -> None:
    given = words(300, 200)
    choice = choose(given, 0.95, OWN)
    scores = choice.line.probabilities(given.logits)
    hits = int((scores[given.is_ill] >= choice.threshold).sum())
    assert choice.recall == pytest.approx(hits / 300)
    assert stats.beta.ppf(0.05, hits, 300 - hits + 1) >= 0.95 > stats.beta.ppf(0.05, hits - 1, 300 - hits + 2)
    assert choice.recall_low >= 0.95


def test_a_recall_that_was_proved_is_reached_among_others_nineteen_times_in_twenty() -> None:
    others = words(100_000, 10, seed=99)
    reached = []
    for seed in range(200):
        given = words(120, 30, seed=seed)
        bounds = RecallBounds(given.logits, given)
        row = bounds.last(0.9)
        assert row is not None
        reached.append((others.logits[others.is_ill] >= bounds.thresholds[row]).mean() >= 0.9)
    assert np.mean(reached) >= 0.93


def test_the_images_of_one_patient_prove_no_more_than_one() -> None:
    alone = words(20, 20)
    copied = Readings(np.tile(alone.logits, 5), np.tile(alone.labels, 5), np.tile(alone.weights, 5), alone.patients * 5)
    assert choose(copied, 0.95, OWN).provable == pytest.approx(choose(alone, 0.95, OWN).provable)
    assert choose(copied, 0.95, OWN).is_provisional


def test_misses_that_are_all_of_a_few_patients_lower_the_bound_further_than_their_number_does() -> None:
    patients = tuple("abc" * 10) + tuple(map(str, range(220)))
    scores = np.repeat([0.1, 0.9, 0.2], [30, 200, 20])
    labels = np.repeat([1, 0], [230, 20]).astype(np.uint8)
    bounds = RecallBounds(scores, Readings(scores, labels, np.ones(250), patients))
    by_number = lower_bound(200 / 230, bounds.effective[1])
    assert by_number == pytest.approx(0.803, abs=0.001)
    assert bounds.low(1) == pytest.approx(0.767, abs=0.01), "of so few, a bootstrap draws one twice or more often"
    assert bounds.low(0) == lower_bound(1.0, bounds.effective[0]), "where none is missed, it says nothing"


def test_a_stratum_of_which_few_were_read_may_hide_misses() -> None:
    given = words(100, 100)
    order = np.argsort(given.logits)
    weights = np.ones(200)
    weights[order[:30]] = 50.0  # the lowest scores: one in fifty was drawn, and all of these are healthy
    assert not given.is_ill[order[:10]].any()
    labels = given.labels.copy()
    labels[order[:30]] = 0
    rare = Readings(given.logits, labels, weights, given.patients)
    choice = choose(rare, 0.95, OWN)
    assert choice.is_provisional
    even = Readings(given.logits, labels, np.ones(200), given.patients)
    bounds, of_even = RecallBounds(rare.logits, rare).low(0), RecallBounds(even.logits, even).low(0)
    assert bounds < 0.5 < of_even, "3 in 100 of a stratum fifty times as large may be ill"


def test_a_provisional_point_expects_to_reach_the_goal_on_the_next_positives() -> None:
    others = words(50_000, 10, seed=99)
    scores = others.logits[others.is_ill]
    for ill in (8, 18, 36):
        found = []
        for seed in range(30):
            choice = choose(words(ill, 12, seed=seed), 0.95, OWN)
            assert choice.is_provisional
            found.append((choice.line.slope * scores + choice.line.intercept >= log_odds(choice.threshold)).mean())
        assert np.mean(found) >= 0.93, ill


def test_a_shifted_source_gets_another_intercept_and_a_stretched_one_another_slope_too() -> None:
    def chosen(given: Readings) -> tuple[str, Line]:
        return choose_line(given.logits, given.labels, given.weights, given.patients, OWN)

    assert chosen(words(40, 40))[0] in ("threshold", "intercept")
    name, line = chosen(words(40, 40, shift=3.0))
    assert (name, line.slope) == ("intercept", 1.0)
    assert line.intercept == pytest.approx(3.0, abs=1.0)
    assert chosen(words(40, 40, slope=4.0))[1].slope == 1.0, "below 100 words the slope stays"
    name, line = chosen(words(300, 300, shift=3.0, slope=4.0))
    assert name == "slope"
    assert line.slope == pytest.approx(4.0, rel=0.25)


def test_words_that_a_threshold_separates_give_a_finite_line() -> None:
    logits = np.linspace(-3, 3, 120)
    labels = (logits > 0).astype(np.uint8)
    line = fit_line(logits, labels, np.ones(120), OWN, with_slope=True)
    assert 1.0 < line.slope < 100.0


def test_weights_count_as_copies_in_the_line() -> None:
    given = words(60, 60, shift=1.0)
    doubled = np.where(np.arange(120) % 3 == 0, 2.0, 1.0)
    copies = np.repeat(np.arange(120), doubled.astype(int))
    weighted = fit_line(given.logits, given.labels, doubled, OWN, with_slope=True)
    copied = fit_line(given.logits[copies], given.labels[copies], np.ones(len(copies)), OWN, with_slope=True)
    assert (weighted.slope, weighted.intercept) == pytest.approx((copied.slope, copied.intercept), abs=1e-6)


def test_words_of_one_class_give_no_point() -> None:
    with pytest.raises(WorkFailed, match="No word that counts says NORMAL"):
        choose(words(70, 0), 0.95, OWN)
    with pytest.raises(WorkFailed, match="No word that counts says PNEUMONIA"):
        choose(words(0, 70), 0.95, OWN)


def test_the_same_words_give_the_same_point() -> None:
    assert choose(words(80, 80), 0.95, OWN) == choose(words(80, 80), 0.95, OWN)


def test_the_table_gives_each_threshold_its_shares_with_intervals_around_them() -> None:
    given = words(60, 90)
    choice = choose(given, 0.9, OWN)
    rows = tabulate(given, choice.line, {"chosen": choice.threshold, "everything": 0.0})
    assert [row.threshold for row in rows] == sorted(row.threshold for row in rows)
    by_name = {row.name: row for row in rows}
    everything, chosen = by_name["everything"], by_name["chosen"]
    assert everything.recall is not None
    assert (everything.recall.value, everything.npv) == (1.0, None), "nothing is called NORMAL"
    assert everything.recall.low == pytest.approx(stats.beta.ppf(0.025, 60, 1))
    assert chosen.recall is not None
    assert chosen.recall.value == pytest.approx(choice.recall)
    for row in rows:
        for share in (row.recall, row.specificity, row.ppv, row.flagged, row.missed):
            assert share is not None
            assert 0 <= share.low <= share.value <= share.high <= 1


def test_the_sources_own_share_of_pneumonia_moves_the_predictive_values_alone() -> None:
    given = words(60, 60)
    (own, *_), (rare, *_) = (tabulate(given, OWN, {"a": 0.3}, prevalence) for prevalence in (None, 0.02))
    assert own.recall == rare.recall
    assert own.ppv is not None and rare.ppv is not None
    assert rare.ppv.value < 0.2 < own.ppv.value
