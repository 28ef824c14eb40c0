"""Statistics of drift: each test against known values, and a year in which nothing changes."""

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from shared.statistics import drift
from shared.statistics.drift import Count, Floats, Sample

BEGAN = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = timedelta(days=7)


def normal(seed: int, images: int, shift: float = 0.0) -> Floats:
    return np.sort(np.random.default_rng(seed).normal(shift, 1.0, images))


def test_two_samples_whose_steps_lie_at_the_five_percent_point_have_that_p_value() -> None:
    """Smirnov's table: sqrt(nm / (n + m)) D = 1.36 is exceeded in 5 % of cases, 1.63 in 1 %."""
    first = np.arange(200.0)
    for x, p_value in ((1.36, 0.0494), (1.63, 0.0098)):
        shift = round(x / np.sqrt(100) * 200)  # two evenly spaced samples differ by their shift
        assert drift.kolmogorov_smirnov(first, first + shift) == pytest.approx(p_value, abs=0.003)
    assert drift.kolmogorov_smirnov(first, first) == 1.0


def test_fishers_tea_taster_has_his_p_value() -> None:
    right, wrong = Count(3, 4), Count(1, 4)
    assert drift.fisher(right, wrong, is_rise=True) == pytest.approx(17 / 70)
    assert drift.fisher(right, wrong, is_rise=False) == pytest.approx(34 / 70)
    assert drift.fisher(wrong, right, is_rise=True) == pytest.approx(69 / 70)
    assert drift.fisher(Count(0, 300), Count(0, 1000), is_rise=False) == 1.0


def test_the_stability_index_adds_up_the_bins() -> None:
    reference = np.arange(1000.0)
    moved = np.sort(np.concatenate([np.arange(0.0, 500.0, 2.5), np.arange(500.0, 1000.0, 1.25)]))
    expected = (0.5 - 1 / 3) * np.log(0.5 / (1 / 3)) + (0.5 - 2 / 3) * np.log(0.5 / (2 / 3))
    assert drift.psi(reference, moved) == pytest.approx(expected, abs=1e-9)
    assert drift.psi(reference, reference) == 0.0
    assert 1 < drift.psi(reference, reference + 5000) < np.inf, "an empty bin is no infinity"


def test_scores_that_are_all_alike_have_an_index_too() -> None:
    assert drift.psi(np.zeros(100), np.zeros(100)) == 0.0
    assert drift.kolmogorov_smirnov(np.zeros(100), np.zeros(100)) == 1.0


def test_a_sample_comes_back_from_its_text_as_it_was() -> None:
    sample = Sample(3, np.array([-1.25, 0.5]), np.array([0.75]), {drift.UNFAMILIAR: Count(1, 2)})
    read = Sample.from_json(sample.as_json())
    assert read.images == 3
    assert read.logits.tolist() == [-1.25, 0.5]
    assert read.novelty.tolist() == [0.75]
    assert read.counts == sample.counts


def test_all_looks_of_a_year_spend_one_years_error_however_many_there_are() -> None:
    for looks in (60, 5_000):
        at = [BEGAN + look * drift.YEAR / looks for look in range(looks + 1)]
        spent = sum(drift.spend(since, until) for since, until in itertools.pairwise(at))
        assert spent * len(drift.KINDS) == pytest.approx(drift.ERROR)


def test_a_smaller_share_alarms_only_where_less_is_no_good_news() -> None:
    def sample(share: float, images: int) -> Sample:
        counts = {kind: Count(round(share * images), images) for kind in drift.SHARES}
        return Sample(images, np.empty(0), np.empty(0), counts)

    fallen = drift.compare(sample(0.5, 1000), sample(0.1, 300), 1e-5)
    risen = drift.compare(sample(0.1, 1000), sample(0.5, 300), 1e-5)
    assert fallen.alarms == (drift.POSITIVE,)
    assert set(risen.alarms) == set(drift.SHARES)
    assert fallen.scores is fallen.novelty is None, "too few scores"


class Source:
    """A source as the looks see it, made up: scores of two kinds of patients, novelty scores, and four shares."""

    def __init__(self, seed: int, images: int) -> None:
        random = np.random.default_rng(seed)
        self.logits = random.normal(np.where(random.random(images) < 0.3, 4.0, -4.0), 2.0)
        self.novelty = random.gamma(40.0, 0.0225, images)
        self.flags = {kind: random.random(images) < 0.02 for kind in drift.RISES} | {drift.POSITIVE: self.logits >= 0}

    def sample(self, start: int, end: int) -> Sample:
        counts = {kind: Count(int(flags[start:end].sum()), end - start) for kind, flags in self.flags.items()}
        return Sample(end - start, np.sort(self.logits[start:end]), np.sort(self.novelty[start:end]), counts)

    def alarms(self, images: int, every: timedelta) -> int:
        """How often an alarm begins, with a look at each STEP of images, of which one comes `every` so often."""
        count, is_on, last = 0, False, BEGAN
        for end in range(drift.LEAST, images + 1, drift.STEP):
            start, now = end - drift.window_size(end), BEGAN + end * every
            reference = self.sample(0, min(drift.REFERENCE, start))
            compared = drift.compare(reference, self.sample(start, end), drift.spend(last, now))
            count += bool(compared.alarms) and not is_on
            is_on, last = bool(compared.alarms), now
        return count


def test_sources_that_do_not_change_have_hardly_a_false_alarm_in_a_year_of_weekly_looks() -> None:
    years = [Source(seed, 5200).alarms(5200, WEEK / 100) for seed in range(100)]
    assert max(years) <= 1
    assert sum(years) <= 6, "were ERROR the share of years with one, more would be one case in two hundred"
