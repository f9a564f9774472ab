"""Estimates for jointly drawn siblings: unbiased, with intervals that hold, on processes whose truth is known."""

import numpy as np
import pytest

from esamp.joint.codes import GOLDEN
from pipelines.statistics.comparison.sample_efficiency import meeting_point, sample_efficiency
from pipelines.statistics.dependent_samples.marginal_bound import marginal_bound_per_problem
from pipelines.statistics.dependent_samples.windows import window_curve, window_pass_at_k, window_pass_at_k_per_problem
from pipelines.statistics.group_estimator import group_estimator
from pipelines.statistics.pass_at_k import pass_at_k_per_problem

PHI = GOLDEN / 2**64


def stratified_groups(p_P: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """[P, N] correct samples of problems whose correct answers lie on one interval of length p: golden-ratio codes, random offsets."""
    u_PN = (rng.random((len(p_P), 1)) + PHI * np.arange(num_samples)) % 1.0
    return u_PN < p_P[:, None]


def truth(p_P: np.ndarray, k: int) -> np.ndarray:
    """[P] probability that one of k codes falls in the interval, over the offset: the measure that k intervals of length p cover."""
    grid = (np.arange(20_000) + 0.5) / 20_000
    hit_PG = (((grid[None, :] + PHI * np.arange(k)[:, None]) % 1.0)[None] < p_P[:, None, None]).any(1)
    return hit_PG.mean(-1)


def test_windows_are_unbiased_for_golden_ratio_siblings_where_subsets_are_not() -> None:
    p_P = np.repeat([0.03, 0.1, 0.2], 400)
    correct_PN = stratified_groups(p_P, 32, np.random.default_rng(0))
    wanted = truth(p_P[::400], 8).repeat(400).mean()
    by_windows = window_pass_at_k_per_problem(list(correct_PN), 8).mean()
    by_subsets = pass_at_k_per_problem(np.full(len(p_P), 32), correct_PN.sum(1), 8).mean()
    assert abs(by_windows - wanted) < 0.01
    assert by_subsets < wanted - 0.05, "random subsets are less spread than a group of k, and understate it"


def test_intervals_over_problems_cover_the_truth() -> None:
    wanted = truth(np.random.default_rng(2).beta(0.5, 2, size=3000), 4).mean()
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(120):
        p_P = rng.beta(0.5, 2, size=80)
        [interval] = window_curve(list(stratified_groups(p_P, 16, rng)), [4], seed=0)
        covered.append(interval.low <= wanted <= interval.high)
    assert np.mean(covered) >= 0.89  # 95% +- 3 standard errors of 120 trials


def test_each_kind_of_sampler_has_its_estimator() -> None:
    samples = [[1, 0, 0, 0]]
    assert group_estimator(siblings_form_sequence=True)(samples, 2).tolist() == pytest.approx([1 / 3])
    assert group_estimator(siblings_form_sequence=False)(samples, 2).tolist() == pytest.approx([1 / 2])


def test_a_window_of_all_samples_is_the_group() -> None:
    assert window_pass_at_k([0, 0, 1], 3) == 1.0
    assert np.isnan(window_pass_at_k([0, 1], 3))


def test_no_coupling_beats_the_bound_and_golden_codes_reach_it_for_small_intervals() -> None:
    p_P = np.array([0.01, 0.05, 0.5])
    bound = marginal_bound_per_problem([100] * 3, [1, 5, 50], 4)
    assert bound.tolist() == [0.04, 0.2, 1.0]
    assert (truth(p_P, 4) <= bound + 1e-3).all()
    assert truth(p_P[:2], 4) == pytest.approx(bound[:2], abs=1e-3)


def test_efficiency_of_the_baseline_against_itself_is_one() -> None:
    rng = np.random.default_rng(3)
    correct_P = rng.binomial(32, rng.beta(0.5, 2, size=200))
    samples_P = np.full(200, 32)
    found = sample_efficiency(
        pass_at_k_per_problem(samples_P, correct_P, 8), 8, baseline_samples_P=samples_P, baseline_correct_P=correct_P
    )
    assert (found.independent, found.low, found.high) == pytest.approx((8, 8, 8))


def test_efficiency_counts_the_independent_samples_that_stratified_ones_are_worth() -> None:
    """One interval of p = 0.1: 4 codes cover 0.4, and 1 - 0.9^m = 0.4 at m = 4.85."""
    p_P = np.full(3000, 0.1)
    rng = np.random.default_rng(4)
    found = sample_efficiency(
        window_pass_at_k_per_problem(list(stratified_groups(p_P, 16, rng)), 4),
        4,
        baseline_samples_P=np.full(3000, 16),
        baseline_correct_P=rng.binomial(16, p_P),
        num_resamples=200,
    )
    assert found.low < 4.85 < found.high
    assert found.saved == pytest.approx(1 - 4 / 4.85, abs=0.03)


def test_intervals_of_the_efficiency_cover_the_truth_and_are_no_wider_than_they_need_be() -> None:
    """100 runs of 150 problems; the truth is that of a population of 20,000."""
    rng = np.random.default_rng(6)
    population = rng.beta(0.5, 2, size=20_000)
    curve_M = np.array([(1 - (1 - population) ** m).mean() for m in range(1, 25)])
    wanted = meeting_point(truth(population[:4000], 4).mean(), curve_M)
    assert 4.5 < wanted < 8
    intervals = []
    for _ in range(100):
        p_P = rng.choice(population, size=150)
        values_P = window_pass_at_k_per_problem(list(stratified_groups(p_P, 24, rng)), 4)
        found = sample_efficiency(
            values_P,
            4,
            baseline_samples_P=np.full(150, 24),
            baseline_correct_P=rng.binomial(24, p_P),
            num_resamples=200,
        )
        intervals.append((found.low, found.high))
    covered = [low <= wanted <= high for low, high in intervals]
    assert np.mean(covered) >= 0.88  # 95% - 3 standard errors of 100 trials
    # Half as wide, they would fall short: the test tells good intervals from narrow ones.
    narrow = [3 * low + high <= 4 * wanted <= low + 3 * high for low, high in intervals]
    assert np.mean(narrow) < 0.88


def test_what_the_baseline_never_reaches_is_said_to_be_beyond_its_samples() -> None:
    found = sample_efficiency([1.0, 1.0], 2, baseline_samples_P=[4, 4], baseline_correct_P=[0, 1])
    assert found.independent == float("inf")
    assert found.at_least == 4
