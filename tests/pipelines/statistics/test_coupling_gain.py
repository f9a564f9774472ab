"""The gain by coupling alone: unbiased, with intervals that hold, and far more precise than the plain difference at small k."""

import numpy as np
import pytest

from pipelines.statistics.comparison.coupling_gain import coupling_gain_per_problem
from pipelines.statistics.group_estimator import over_subsets, over_windows
from pipelines.statistics.interval import mean_interval
from pipelines.statistics.pass_at_k import pass_at_k_per_problem
from tests.pipelines.statistics.test_joint_samples import stratified_groups, truth

N = 8


def independent(p_P: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[P, N] verdicts of independent samples."""
    return rng.random((len(p_P), N)) < p_P[:, None]


def gains(joint_PN: np.ndarray, plain_PN: np.ndarray, k: int) -> np.ndarray:
    return coupling_gain_per_problem(list(joint_PN), np.full(len(plain_PN), N), plain_PN.sum(1), k, over_windows)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_it_is_the_gain_of_stratified_siblings(k: int) -> None:
    rng = np.random.default_rng(0)
    p_P = np.repeat([0.05, 0.2, 0.5, 0.8], 5000)
    wanted = (truth(p_P[::5000], k) - (1 - (1 - p_P[::5000]) ** k)).mean()
    found_P = gains(stratified_groups(p_P, N, rng), independent(p_P, rng), k)
    assert abs(found_P.mean() - wanted) < 3.5 * found_P.std() / np.sqrt(len(p_P))
    assert wanted > 0.05, "and there is one"


@pytest.mark.parametrize("k", [2, 4, 8])
def test_independent_samples_gain_nothing(k: int) -> None:
    rng = np.random.default_rng(1)
    p_P = rng.beta(0.7, 0.7, size=20_000)
    found_P = gains(independent(p_P, rng), independent(p_P, rng), k)
    assert abs(found_P.mean()) < 3.5 * found_P.std() / np.sqrt(len(p_P))


def test_intervals_cover_the_truth() -> None:
    p_of_all = np.random.default_rng(2).beta(0.7, 0.7, size=3000)
    wanted = (truth(p_of_all, 2) - (1 - (1 - p_of_all) ** 2)).mean()
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(120):
        p_P = rng.beta(0.7, 0.7, size=100)
        interval = mean_interval(gains(stratified_groups(p_P, N, rng), independent(p_P, rng), 2), bounds=(-2, 2))
        covered.append(interval.low <= wanted <= interval.high)
    assert np.mean(covered) >= 0.89  # 95% +- 3 standard errors of 120 trials


def test_luck_in_pass_at_1_is_taken_out() -> None:
    """Two runs of the same sampler on problems near p = 1/2, where the plain difference of pass@2 is mostly that of pass@1."""
    rng = np.random.default_rng(4)
    p_P = rng.uniform(0.2, 0.8, size=4000)
    one_PN, other_PN = independent(p_P, rng), independent(p_P, rng)
    sizes_P = np.full(len(p_P), N)
    plain_P = pass_at_k_per_problem(sizes_P, one_PN.sum(1), 2) - pass_at_k_per_problem(sizes_P, other_PN.sum(1), 2)
    found_P = coupling_gain_per_problem(list(one_PN), sizes_P, other_PN.sum(1), 2, over_subsets)
    assert found_P.std() < plain_P.std() / 2.5


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more; got k=1"):
        coupling_gain_per_problem([[1, 0]], [2], [1], 1, over_windows)
    with pytest.raises(ValueError, match="same problems; got 1 and 2"):
        coupling_gain_per_problem([[1, 0]], [2, 2], [1, 1], 2, over_windows)
    assert np.isnan(coupling_gain_per_problem([[1, 0]], [4], [1], 3, over_windows)).all(), "fewer than k samples"
