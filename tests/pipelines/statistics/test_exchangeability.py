"""The exchangeability test: false alarms as often as stated, real effects found, and its blind spot on the record."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from pipelines.statistics.dependent_samples.exchangeability import exchangeability_test
from tests.pipelines.statistics.processes import first_is_different, independent, polya_urn, taking_turns


@pytest.mark.parametrize("process", [independent, polya_urn, taking_turns])
def test_false_alarms_stay_at_the_level(process: Callable) -> None:
    """All three are exchangeable, the last two strongly dependent: this is also what the test cannot see."""
    runs = 300
    correct = process(np.random.default_rng(0), runs, 20, 8)
    alarms = [exchangeability_test(run, num_permutations=199, seed=i).misleads(0.1) for i, run in enumerate(correct)]
    assert np.mean(alarms) == pytest.approx(0.1, abs=4 * math.sqrt(0.1 * 0.9 / runs))


def test_a_first_sample_unlike_the_rest_is_found() -> None:
    correct = first_is_different(np.random.default_rng(1), 20, 40, 8)
    results = [exchangeability_test(run, num_permutations=199) for run in correct]
    assert np.mean([result.misleads() for result in results]) > 0.9
    assert all(result.first > 2 for result in results)


def test_a_drift_and_sticking_neighbours_are_found() -> None:
    rng = np.random.default_rng(2)
    drifting = rng.random((60, 16)) < np.linspace(0.05, 0.6, 16)
    assert (result := exchangeability_test(drifting)).misleads() and result.trend > 3
    sticking = np.repeat(rng.random((60, 4)) < 0.4, 4, axis=1)
    assert (result := exchangeability_test(sticking)).misleads() and result.neighbours > 3


def test_hard_and_easy_problems_are_no_effect_of_order() -> None:
    solved_or_not = np.repeat([[True], [False]], 8, axis=1).repeat(20, axis=0)
    result = exchangeability_test(solved_or_not)
    assert result.num_problems == 0 and math.isnan(result.p_value) and not result.misleads()


def test_two_samples_are_enough_to_compare_the_first_with_the_rest() -> None:
    result = exchangeability_test(np.array([[True, False]] * 30))
    assert result.misleads() and result.neighbours == 0


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\)"):
        exchangeability_test(np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="got 0"):
        exchangeability_test(np.zeros((2, 2), dtype=bool), num_permutations=0)
