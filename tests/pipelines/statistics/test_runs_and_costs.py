"""Between-run error, adaptive stopping and cost ratios: by enumeration and simulation."""

import math
from itertools import product

import numpy as np
import pytest

from pipelines.statistics.adaptive import adaptive_curve, adaptive_pass_at_k
from pipelines.statistics.comparison.cost import cost_per_solved
from pipelines.statistics.comparison.replicates import between_runs, run_variance_share
from pipelines.statistics.stopping_rule import StoppingRule
from tests.pipelines.statistics.processes import polya_urn

RULES = [
    StoppingRule(successes=1, give_up_after=4, limit=4),
    StoppingRule(successes=2, give_up_after=3, limit=7),
    StoppingRule(successes=3, give_up_after=3, limit=6),
]


def stop(order: tuple[int, ...], rule: StoppingRule) -> tuple[int, int]:
    """Drawn and correct when the rule stops this order."""
    n = next(n for n in range(1, rule.limit + 1) if rule.allows(n, sum(order[:n])))
    return n, sum(order[:n])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_adaptive_estimates_are_unbiased(rule: StoppingRule, p: float) -> None:
    for k in range(1, rule.give_up_after + 1):
        mean = sum(
            math.prod(p if ok else 1 - p for ok in order) * adaptive_pass_at_k(*stop(order, rule), k, rule)
            for order in product((0, 1), repeat=rule.limit)
        )
        assert mean == pytest.approx(1 - (1 - p) ** k)


def test_they_stay_right_where_siblings_copy_each_other_and_the_plain_share_does_not() -> None:
    rule = StoppingRule(successes=2, give_up_after=6, limit=12)
    correct = polya_urn(np.random.default_rng(0), 1, 20_000, 12)[0]
    stops = [stop(tuple(order), rule) for order in correct.astype(int).tolist()]
    drawn_P, correct_P = np.array(stops).T
    first, third = adaptive_curve(drawn_P, correct_P, [1, 3], rule)
    assert first.low <= 0.25 <= first.high and third.low <= correct[:, :3].any(axis=1).mean() <= third.high
    assert (correct_P / drawn_P).mean() > 0.25 + 0.02


def test_haldanes_estimate_is_the_special_case() -> None:
    rule = StoppingRule(successes=3, give_up_after=50, limit=50)
    assert adaptive_pass_at_k(20, 3, 1, rule) == pytest.approx(2 / 19)


def test_k_beyond_the_point_of_giving_up_is_nan_for_everyone() -> None:
    rule = StoppingRule(successes=2, give_up_after=3, limit=7)
    assert math.isnan(adaptive_pass_at_k(3, 0, 4, rule)) and math.isnan(adaptive_pass_at_k(2, 2, 4, rule))
    assert math.isnan(adaptive_curve([3, 2], [0, 2], [4], rule)[0].estimate)


@pytest.mark.parametrize(("n", "c"), [(2, 0), (3, 1), (8, 2), (1, 2), (4, 0)])
def test_counts_the_rule_cannot_stop_at_are_refused(n: int, c: int) -> None:
    with pytest.raises(ValueError, match=f"{c} correct of {n} samples"):
        adaptive_pass_at_k(n, c, 1, StoppingRule(successes=2, give_up_after=3, limit=7))


def test_rules_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="successes=4, give_up_after=3"):
        StoppingRule(successes=4, give_up_after=3, limit=7)


def test_between_run_error_covers_and_one_run_cannot_tell() -> None:
    rng = np.random.default_rng(1)
    runs = 2000
    covered = [
        result.low <= 0.25 <= result.high
        for result in (between_runs(values_R) for values_R in rng.normal(0.25, 0.05, (runs, 4)))
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / runs))
    alone = between_runs([0.3])
    assert alone.mean == 0.3 and np.isnan([alone.standard_deviation, alone.low, alone.high]).all()
    with pytest.raises(ValueError, match="got none"):
        between_runs([])


def test_the_luck_share_is_that_of_the_variance() -> None:
    rng = np.random.default_rng(2)
    difficulty_P = rng.normal(0, 3, 4000)
    values_RP = difficulty_P + rng.normal(0, 1, (5, 4000))
    assert run_variance_share(values_RP) == pytest.approx(1 / (1 + 9), abs=0.02)
    assert run_variance_share(rng.normal(0, 1, (5, 4000))) == pytest.approx(1, abs=0.02)
    assert run_variance_share(np.tile(difficulty_P, (3, 1))) == pytest.approx(0, abs=1e-12)
    assert math.isnan(run_variance_share(difficulty_P[None])) and math.isnan(run_variance_share(np.zeros((3, 4))))


def test_cost_per_solved_counts_unsolved_problems_and_covers() -> None:
    assert cost_per_solved([10, 30, 20], [True, False, True]).estimate == 30
    rng = np.random.default_rng(3)
    runs, covered = 300, 0
    for run in range(runs):
        solved_P = rng.random(60) < 0.5
        cost_P = np.where(solved_P, rng.exponential(100, 60), 300)
        interval = cost_per_solved(cost_P, solved_P, num_resamples=500, seed=run)
        covered += interval.low <= (0.5 * 100 + 0.5 * 300) / 0.5 <= interval.high
    assert covered / runs == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / runs) + 0.01)


def test_nothing_solved_has_no_price_and_hardly_anything_an_open_one() -> None:
    assert math.isnan(cost_per_solved([10, 20], [False, False]).estimate)
    assert math.isinf(cost_per_solved([10, 20, 30, 40], [True, False, False, False]).high)
