"""Intervals of means over problems: strata, bounds, and coverage for samples that depend on each other."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from pipelines.statistics.interval import mean_interval
from pipelines.statistics.pass_at_k import pass_at_k_per_problem
from tests.pipelines.statistics.processes import first_is_different, pass_at_k_truth, polya_urn, taking_turns

RUNS = 300
FOUR_STANDARD_ERRORS = 4 * math.sqrt(0.95 * 0.05 / RUNS)


@pytest.mark.parametrize(("process", "k"), [(polya_urn, 1), (polya_urn, 4), (first_is_different, 2)])
def test_coverage_holds_for_dependent_samples(process: Callable, k: int) -> None:
    truth = pass_at_k_truth(process, k, 8)
    correct = process(np.random.default_rng(k), RUNS, 50, 8)
    covered = 0
    for run, correct_PN in enumerate(correct):
        values_P = pass_at_k_per_problem(np.full(50, 8), correct_PN.sum(axis=1), k)
        interval = mean_interval(values_P, num_resamples=500, seed=run)
        covered += interval.low <= truth <= interval.high
    assert covered / RUNS == pytest.approx(0.95, abs=FOUR_STANDARD_ERRORS)


def test_resampling_samples_instead_of_problems_would_be_wrong() -> None:
    """Copying siblings leave far fewer independent facts than samples: an interval from the pooled samples covers far too seldom."""
    correct = polya_urn(np.random.default_rng(0), RUNS, 50, 8)
    mean, half = correct.mean(axis=(1, 2)), 1.96 * np.sqrt(0.25 * 0.75 / (50 * 8))
    assert (np.abs(mean - 0.25) <= half).mean() < 0.8


def test_problems_without_luck_of_their_own_have_no_spread_but_an_interval() -> None:
    correct_PN = taking_turns(np.random.default_rng(0), 1, 20, 8)[0]
    interval = mean_interval(correct_PN.mean(axis=1))
    assert (interval.estimate, interval.method) == (0.25, "clopper-pearson")
    assert interval.low < 0.25 < interval.high


def test_strata_take_out_what_differs_between_them() -> None:
    """Easy and hard problems in fixed numbers: the interval is for another set with the same numbers, so it is shorter."""
    rng = np.random.default_rng(1)
    values_P = np.concatenate([rng.uniform(0, 0.2, 30), rng.uniform(0.8, 1, 30)])
    strata_P = ["hard"] * 30 + ["easy"] * 30
    plain, stratified = mean_interval(values_P), mean_interval(values_P, strata_P=strata_P)
    assert stratified.estimate == plain.estimate
    assert stratified.high - stratified.low < 0.25 * (plain.high - plain.low)
    assert mean_interval(values_P, strata_P=["all"] * 60) == plain


def test_stratified_coverage_holds() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for run in range(RUNS):
        values_P = np.concatenate([rng.beta(1, 4, 25), rng.beta(4, 1, 15)])
        interval = mean_interval(values_P, strata_P=["hard"] * 25 + ["easy"] * 15, num_resamples=500, seed=run)
        covered += interval.low <= (25 * 0.2 + 15 * 0.8) / 40 <= interval.high
    assert covered / RUNS == pytest.approx(0.95, abs=FOUR_STANDARD_ERRORS)


def test_bounds_are_kept_and_enforced() -> None:
    equal = mean_interval([0.0, 0.0, 0.0], bounds=(-1, 1))
    assert -1 <= equal.low < 0 < equal.high <= 1
    with pytest.raises(ValueError, match=r"\(0.0, 1.0\); got -0.5"):
        mean_interval([-0.5, 0.5])


@pytest.mark.parametrize(
    ("strata_P", "message"), [(["a", "a", "b"], "'b' holds one"), (["a", "a"], "got 2 for 3 problems")]
)
def test_strata_that_cannot_be_resampled_are_refused(strata_P: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_interval([0.1, 0.2, 0.3], strata_P=strata_P)


@pytest.mark.parametrize("values_P", [[], [math.nan], [0.5, math.nan, 0.2]])
def test_the_undefined_is_nan(values_P: list[float], recwarn: pytest.WarningsRecorder) -> None:
    interval = mean_interval(values_P)
    assert interval.method == "undefined"
    assert np.isnan([interval.estimate, interval.low, interval.high]).all()
    assert not recwarn.list
