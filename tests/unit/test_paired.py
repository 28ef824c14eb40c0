"""Paired differences, how many patients they need, and McNemar's test."""

import numpy as np
import pytest

from shared.statistics.paired import Difference, mcnemar, measure_difference, patients_needed


def test_a_difference_is_bounded_by_patients_and_nobody_bounds_nothing() -> None:
    differences = np.array([0.0, 0, 1, 1, -1, 0] * 20)
    whose = np.array([f"p{number}" for number in range(60) for _ in range(2)])
    found = measure_difference(differences, np.ones(120), whose, 1)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(differences.mean())
    assert (found.patients, measure_difference(differences, np.ones(120), whose, 1)) == (60, found)
    nothing = measure_difference(np.empty(0), np.empty(0), np.empty(0, str), 1)
    assert (nothing.low, nothing.high, nothing.patients) == (-1.0, 1.0, 0)


def test_each_bound_is_one_sided() -> None:
    """Of 400 patients half of whom differ by 1, the mean has a standard error of 0.025: 1.645 of them make 95 %."""
    found = measure_difference(np.array([0.0, 1.0] * 200), np.ones(400), np.arange(400).astype(str), 1)
    assert found.error == pytest.approx(0.025, rel=0.05)
    assert found.low == pytest.approx(0.5 - 1.645 * 0.025, abs=0.004)


def test_weights_say_for_how_many_an_image_stands() -> None:
    found = measure_difference(np.array([1.0, 0.0]), np.array([3.0, 1.0]), np.array(["a", "b"]), 1)
    assert found.value == 0.75


def test_as_many_patients_are_asked_for_as_the_published_arithmetic_says() -> None:
    """A variance of 0.1 a patient, a difference of 0.02 and a limit of -0.03: (1.645 + 0.842)^2 * 0.1 / 0.05^2."""
    seen = Difference(0.02, -0.1, 0.1, (0.1 / 50) ** 0.5, 50)
    assert patients_needed(seen, -0.03) == 248
    assert patients_needed(seen, 0.02) is None, "it is no larger than the limit itself"
    assert patients_needed(Difference(0.0, -1.0, 1.0, 1.0, 0), -0.03) is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (5, 0, 0.0625), (1, 9, 0.021484375), (3000, 3000, 1.0)],
)
def test_mcnemars_exact_test_gives_known_values(first: int, second: int, expected: float) -> None:
    assert mcnemar(first, second) == expected
