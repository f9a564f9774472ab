"""The two questions that pass@k of one group does not answer: the first k launched, and groups of another size."""

import doctest

import numpy as np
import pytest

from pipelines.statistics.dependent_samples import prefix
from pipelines.statistics.dependent_samples.group_size import group_size_sweep
from pipelines.statistics.dependent_samples.prefix import prefix_curve, solved_within
from pipelines.statistics.pass_at_k import pass_at_k_curve
from tests.pipelines.statistics.processes import first_is_different, independent, polya_urn


def test_the_prefix_curve_counts_the_first_k() -> None:
    correct_PN = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    assert [point.estimate for point in prefix_curve(correct_PN, [1, 2, 3, 4])] == [0.25, 0.5, 0.5, 0.75]


def test_ragged_problems_tell_what_they_can() -> None:
    values_P = solved_within([[0, 1], [0, 0], [0, 0, 0, 0]], 3)
    assert values_P.tolist()[0] == 1.0 and np.isnan(values_P[1]) and values_P[2] == 0.0
    assert np.isnan(prefix_curve([[0, 1], [0, 0]], [3])[0].estimate)


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="k=0"):
        solved_within([[1]], 0)


def test_at_k_equal_n_prefix_and_subset_are_the_same_number() -> None:
    correct_PN = polya_urn(np.random.default_rng(0), 1, 40, 8)[0]
    (subset,) = pass_at_k_curve(np.full(40, 8), correct_PN.sum(axis=1), [8])
    assert prefix_curve(correct_PN, [8])[0].estimate == pytest.approx(subset.estimate)


def test_prefix_and_subset_part_where_launch_order_matters() -> None:
    """First sample right in 60%, others in 15%: the first two solve 66%, two at random of eight far fewer."""
    correct_PN = first_is_different(np.random.default_rng(1), 1, 4000, 8)[0]
    (subset,) = pass_at_k_curve(np.full(4000, 8), correct_PN.sum(axis=1), [2], num_resamples=100)
    prefix_2 = float(np.mean(solved_within(correct_PN, 2)))
    assert prefix_2 == pytest.approx(1 - 0.4 * 0.85, abs=0.03)
    assert subset.estimate == pytest.approx(1 - (0.25 * 0.4 * 0.85 + 0.75 * 0.85**2), abs=0.03)


def test_for_independent_samples_the_group_size_does_not_matter() -> None:
    correct_PN = independent(np.random.default_rng(2), 1, 1000, 16)[0]
    points = group_size_sweep({n: correct_PN.reshape(1000, 16 // n, n) for n in (1, 4, 8)}, budget=8)
    assert [(point.group_size, point.num_groups, point.num_samples) for point in points] == [
        (1, 8, 8),
        (4, 2, 8),
        (8, 1, 8),
    ]
    assert points[0].solved.estimate == pytest.approx(points[2].solved.estimate, abs=0.03)


def test_for_siblings_that_copy_each_other_many_small_groups_beat_a_large_one() -> None:
    """The same budget of 8 samples: Polya urns of 8, or 8 urns of one draw each. pass@8 of the one large group hides it."""
    rng = np.random.default_rng(3)
    sizes = {n: polya_urn(rng, 1, 2000 * 8 // n, n)[0].reshape(2000, 8 // n, n) for n in (1, 2, 8)}
    solved = [point.solved.estimate for point in group_size_sweep(sizes, budget=8)]
    assert solved[0] == pytest.approx(1 - 0.75**8, abs=0.03)
    assert solved[0] > solved[1] + 0.02 > solved[2] + 0.04


def test_budgets_and_shapes_that_do_not_fit_are_refused() -> None:
    one_group = np.zeros((5, 1, 4), dtype=bool)
    with pytest.raises(ValueError, match="6 samples and groups of 4"):
        group_size_sweep({4: one_group}, budget=6)
    with pytest.raises(ValueError, match=r"groups of 2 .*\(5, 1, 4\)"):
        group_size_sweep({2: one_group}, budget=4)


def test_too_few_groups_are_nan() -> None:
    (point,) = group_size_sweep({4: np.ones((5, 1, 4), dtype=bool)}, budget=8)
    assert np.isnan(point.solved.estimate)


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(prefix).failed == 0 and doctest.testmod(prefix).attempted
