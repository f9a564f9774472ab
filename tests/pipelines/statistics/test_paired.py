"""Paired comparisons against statsmodels and scipy, and by simulation: level, coverage and power are what they claim."""

import doctest
import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from pipelines.statistics.comparison import paired
from pipelines.statistics.comparison.paired import (
    compare_paired,
    detectable_difference,
    difference_interval,
    holm,
    mcnemar,
    sign_flip_test,
)
from pipelines.statistics.interval import mean_interval
from tests.pipelines.statistics.processes import polya_urn, taking_turns

contingency_tables = pytest.importorskip("statsmodels.stats.contingency_tables")
multitest = pytest.importorskip("statsmodels.stats.multitest")
power = pytest.importorskip("statsmodels.stats.power")

RUNS = 300


def test_the_sign_flip_test_is_exact_for_few_problems() -> None:
    d_P = np.array([0.4, 0.1, 0.3, -0.2, 0.25, 0.0])
    moved = d_P[d_P != 0]
    flipped = [abs(np.mean(moved * signs)) for signs in product((-1, 1), repeat=len(moved))]
    assert sign_flip_test(d_P) == pytest.approx(np.mean(np.array(flipped) >= abs(moved.mean()) - 1e-12))


def test_a_single_difference_proves_nothing() -> None:
    """scipy refuses a single pair; its two signs are equally extreme."""
    assert sign_flip_test([1.0, 0.0, 0.0]) == 1.0 == sign_flip_test([-1.0])


def test_for_many_problems_it_agrees_with_the_t_test() -> None:
    d_P = np.random.default_rng(0).normal(0.03, 0.2, 400)
    assert sign_flip_test(d_P) == pytest.approx(stats.ttest_1samp(d_P, 0).pvalue, abs=0.01)


def test_false_alarms_and_coverage_for_dependent_samples_that_do_not_differ() -> None:
    """Two samplers of equal pass@1, one whose siblings copy each other and one whose siblings repel."""
    rng = np.random.default_rng(1)
    a, b = polya_urn(rng, RUNS, 40, 8).mean(axis=2), taking_turns(rng, RUNS, 40, 8).mean(axis=2)
    c = polya_urn(rng, RUNS, 40, 8).mean(axis=2)
    alarms = [sign_flip_test(d_P, num_resamples=999) < 0.05 for d_P in a - c]
    assert np.mean(alarms) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / RUNS))
    covered = 0
    for a_P, b_P in zip(a, b, strict=True):
        interval = mean_interval(a_P - b_P, bounds=(-1, 1), num_resamples=500)
        covered += interval.low <= 0 <= interval.high
    assert covered / RUNS == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / RUNS))


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(2)
    spread, problems = 0.25, 60
    detectable = detectable_difference(rng.normal(0, spread, 100_000)) * math.sqrt(100_000 / problems)
    found = [sign_flip_test(rng.normal(detectable, spread, problems), num_resamples=499) < 0.05 for _ in range(RUNS)]
    assert np.mean(found) == pytest.approx(0.8, abs=4 * math.sqrt(0.8 * 0.2 / RUNS))


def test_the_detectable_difference_agrees_with_statsmodels() -> None:
    d_P = np.random.default_rng(3).normal(0, 0.3, 80)
    effect = power.NormalIndPower(ddof=0).solve_power(nobs1=80, alpha=0.05, power=0.8, ratio=0)
    assert detectable_difference(d_P) == pytest.approx(effect * d_P.std(ddof=1), rel=1e-3)


def test_pairing_finds_what_the_two_intervals_hide() -> None:
    """Problems from impossible to trivial, the same small gain on each: the samplers' own intervals overlap, the difference is clear."""
    b_P = np.linspace(0, 0.9, 30)
    comparison = compare_paired(b_P + np.linspace(0.04, 0.06, 30), b_P)
    assert comparison.difference.estimate == pytest.approx(0.05)
    assert comparison.difference.low > 0.04 and comparison.p_value < 0.001
    assert comparison.mean_b < comparison.mean_a < comparison.mean_b + 0.1


def test_a_sampler_against_itself_is_no_difference_yet_not_certainty() -> None:
    values_P = np.linspace(0, 1, 30)
    comparison = compare_paired(values_P, values_P)
    assert (comparison.difference.estimate, comparison.p_value) == (0, 1)
    assert comparison.difference.high == -comparison.difference.low == pytest.approx(1 - 0.0125 ** (1 / 30))
    assert comparison.difference.high < comparison.detectable < 0.25


def test_few_differing_problems_could_have_shown_large_differences_only() -> None:
    """The spread of two coins among 32 problems is mostly luck: what they could show is no less than their interval says."""
    d_P = np.array([1.0, 1.0] + [0.0] * 30)
    interval = difference_interval(d_P)
    assert detectable_difference(d_P) > (interval.high - interval.low) / 2
    assert math.isnan(detectable_difference([0.5] * 20)) and math.isnan(detectable_difference([0.5]))


def test_few_differing_problems_do_not_make_a_short_interval() -> None:
    """Two of 32 problems solved by one sampler only: a coin's work half of the time, so 0 must lie well within."""
    d_P = np.array([1.0, 1.0] + [0.0] * 30)
    interval = difference_interval(d_P)
    assert sign_flip_test(d_P) == 0.5 and interval.low < -0.05 and interval.method == "clopper-pearson"


@pytest.mark.parametrize("share", [(0.02, 0.02), (0.1, 0.02), (0.2, 0.05)])
def test_coverage_where_few_problems_differ(share: tuple[float, float]) -> None:
    gains, losses = share
    rng = np.random.default_rng(7)
    covered = 0
    for run in range(RUNS):
        d_P = rng.choice([1.0, -1.0, 0.0], size=40, p=[gains, losses, 1 - gains - losses])
        interval = difference_interval(d_P, seed=run)
        covered += interval.low <= gains - losses <= interval.high
    assert covered / RUNS > 0.95 - 4 * math.sqrt(0.95 * 0.05 / RUNS)


def test_swapping_the_samplers_swaps_the_sign() -> None:
    rng = np.random.default_rng(4)
    a_P, b_P = rng.random(25), rng.random(25)
    there, back = compare_paired(a_P, b_P), compare_paired(b_P, a_P)
    assert there.difference.estimate == -back.difference.estimate
    assert there.p_value == pytest.approx(back.p_value, abs=0.02)
    assert there.difference.low == pytest.approx(-back.difference.high, abs=0.02)


@pytest.mark.parametrize("values_P", [[], [math.nan, 0.5]])
def test_the_undefined_is_nan(values_P: list[float]) -> None:
    comparison = compare_paired(values_P, values_P)
    assert np.isnan([comparison.mean_a, comparison.difference.low, comparison.p_value, comparison.detectable]).all()


def test_mcnemar_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        a_P, b_P = rng.random(40) < 0.6, rng.random(40) < 0.4
        result = mcnemar(a_P, b_P)
        table = [[result.both, result.only_a], [result.only_b, result.neither]]
        assert sum(map(sum, table)) == 40
        assert result.p_value == pytest.approx(contingency_tables.mcnemar(table, exact=True).pvalue)
    assert mcnemar([True, False], [True, False]).p_value == 1.0


def test_holm_agrees_with_statsmodels_and_keeps_nan() -> None:
    p_values = np.random.default_rng(6).random(8).tolist()
    assert holm(p_values) == pytest.approx(multitest.multipletests(p_values, method="holm")[1].tolist())
    assert math.isnan(holm([0.01, math.nan])[1]) and holm([0.01, math.nan])[0] == 0.01


def test_unpaired_problems_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        compare_paired([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        mcnemar([0, 1], [0, 1, 1])


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(paired).failed == 0 and doctest.testmod(paired).attempted
