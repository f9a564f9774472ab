"""pass@k against counting subsets by hand and by enumeration, and its interval against simulated problems."""

import doctest
from itertools import combinations
from math import comb, nan

import numpy as np
import pytest

from pipelines.statistics import pass_at_k as module
from pipelines.statistics.pass_at_k import PassAtK, ks_up_to, pass_at_k, pass_at_k_curve, pass_at_k_per_problem


def pass_at_k_by_enumeration(n: int, c: int, k: int) -> float:
    """Share of all k-subsets of n samples, the first c of them correct, that hold a correct one."""
    subsets = list(combinations(range(n), k))
    return sum(min(subset) < c for subset in subsets) / len(subsets)


def one_point(num_samples: list[int], num_correct: list[int], k: int, *, confidence: float = 0.95) -> PassAtK:
    (point,) = pass_at_k_curve(num_samples, num_correct, [k], confidence=confidence)
    return point


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [
        (4, 1, 2, 3 / 6),  # of 6 pairs, 3 hold the correct one
        (5, 2, 2, 7 / 10),  # of 10 pairs, 3 hold none of the two
        (5, 2, 1, 2 / 5),
        (3, 0, 3, 0.0),
        (3, 1, 3, 1.0),
        (7, 7, 1, 1.0),
        (1, 0, 1, 0.0),
        (1, 1, 1, 1.0),
    ],
)
def test_hand_computed_cases(n: int, c: int, k: int, expected: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(expected, abs=1e-15)


def test_equals_the_share_of_subsets_with_a_correct_sample() -> None:
    for n in range(1, 9):
        for c in range(n + 1):
            for k in range(1, n + 1):
                assert pass_at_k(n, c, k) == pytest.approx(pass_at_k_by_enumeration(n, c, k), abs=1e-12), (n, c, k)


def test_stays_exact_where_binomials_overflow_floats() -> None:
    n, c, k = 5000, 3, 2000
    assert pass_at_k(n, c, k) == pytest.approx(1 - comb(n - c, k) / comb(n, k), rel=1e-12)


def test_rises_with_k_and_with_correct_samples() -> None:
    table = np.array([[pass_at_k(32, c, k) for k in range(1, 33)] for c in range(33)])
    assert (np.diff(table, axis=0) >= -1e-12).all()
    assert (np.diff(table, axis=1) >= -1e-12).all()


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 1, 5), (4, 1, 0), (0, 0, 1)])
def test_impossible_counts_are_refused_with_their_values(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=rf"(c={c}.*n={n})|(k={k}.*n={n})"):
        pass_at_k(n, c, k)


def test_per_problem_values_are_those_of_each_problem() -> None:
    num_samples_P, num_correct_P = [4, 5, 4, 5], [1, 2, 0, 2]
    expected = [pass_at_k(n, c, 2) for n, c in zip(num_samples_P, num_correct_P, strict=True)]
    assert pass_at_k_per_problem(num_samples_P, num_correct_P, 2).tolist() == expected


def test_too_few_samples_are_nan_and_never_a_lucky_number() -> None:
    values_P = pass_at_k_per_problem([8, 2, 2, 2], [4, 0, 1, 2], 4)
    assert np.isnan(values_P).tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("num_samples", "num_correct", "message"),
    [
        ([4, 4], [1, 5], "got 5 correct of 4 for problem 1"),
        ([4, 4], [-1, 0], "got -1 correct of 4 for problem 0"),
        ([4.0, 4.0], [1.5, 0.0], r"got 1\.5 correct of 4\.0 for problem 0"),
        ([4.0], [nan], "got nan correct"),
        ([4, 4], [1], r"\(2,\) and \(1,\)"),
        ([[4]], [[1]], r"\(1, 1\)"),
    ],
)
def test_counts_that_cannot_be_are_refused(num_samples: list, num_correct: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pass_at_k_per_problem(num_samples, num_correct, 1)


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="k=0"):
        pass_at_k_per_problem([4], [1], 0)


def test_the_curve_is_the_mean_over_problems_within_its_interval() -> None:
    num_correct_P = [0, 1, 2, 5, 8, 8, 3, 0, 0, 6]
    curve = pass_at_k_curve([8] * 10, num_correct_P, ks_up_to(8))
    assert [point.k for point in curve] == [1, 2, 4, 8]
    for point in curve:
        assert point.estimate == pytest.approx(np.mean([pass_at_k(8, c, point.k) for c in num_correct_P]))
        assert 0 <= point.low < point.estimate < point.high <= 1
        assert (point.num_problems, point.group_size, point.method) == (10, 8, "bootstrap")


def test_the_same_seed_gives_the_same_interval_and_another_nearly_the_same() -> None:
    counts = [8] * 20, [0, 1, 2, 5, 8] * 4
    first, again, other = (pass_at_k_curve(*counts, [2], seed=seed)[0] for seed in (1, 1, 2))
    assert (first.low, first.high) == (again.low, again.high)
    assert first.low != other.low
    assert first.low == pytest.approx(other.low, abs=0.01)


def test_more_samples_of_the_same_problems_do_not_shrink_the_interval() -> None:
    """The uncertainty is that of the problems: twenty problems stay twenty problems, however often each is sampled."""
    few = one_point([8] * 20, [0, 1, 2, 5, 8] * 4, 1)
    many = one_point([8000] * 20, [0, 1000, 2000, 5000, 8000] * 4, 1)
    assert many.estimate == pytest.approx(few.estimate)
    assert many.high - many.low == pytest.approx(few.high - few.low, abs=0.01)


def test_more_problems_shrink_the_interval() -> None:
    few, many = (one_point([8] * 5 * times, [0, 1, 2, 5, 8] * times, 1) for times in (4, 64))
    assert many.high - many.low == pytest.approx((few.high - few.low) / 4, rel=0.1)


def test_a_problem_with_fewer_than_k_samples_makes_that_k_undefined() -> None:
    at_2, at_4 = pass_at_k_curve([8, 2], [4, 2], [2, 4])
    assert at_2.method == "bootstrap"
    assert at_2.group_size is None
    assert at_4.method == "undefined"
    assert np.isnan([at_4.estimate, at_4.low, at_4.high]).all()


def test_no_problems_are_undefined_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    point = one_point([], [], 1)
    assert (point.method, point.num_problems, point.group_size) == ("undefined", 0, None)
    assert np.isnan([point.estimate, point.low, point.high]).all()
    assert not recwarn.list


@pytest.mark.parametrize("num_problems", [1, 2, 30])
@pytest.mark.parametrize("num_correct", [0, 2, 8])
def test_equal_values_never_have_an_interval_of_no_width(num_problems: int, num_correct: int) -> None:
    point = one_point([8] * num_problems, [num_correct] * num_problems, 1)
    assert point.method == "clopper-pearson"
    assert point.estimate == pytest.approx(num_correct / 8)
    assert point.low <= point.estimate <= point.high
    assert point.high - point.low > 1 / (num_problems + 1)


def test_equal_values_from_different_counts_count_as_equal() -> None:
    """1 of 3 and 2 of 6 differ in the last bit at most: not a sign of anything known to 16 digits."""
    assert one_point([3, 6, 12], [1, 2, 4], 1).method == "clopper-pearson"


def test_none_or_all_solved_give_the_textbook_interval() -> None:
    """Clopper-Pearson in closed form: the bias at which P misses in a row have a probability of 2.5%."""
    bound = 1 - 0.025 ** (1 / 30)
    none, every = one_point([8] * 30, [0] * 30, 4), one_point([8] * 30, [8] * 30, 4)
    assert (none.low, none.high) == (0, pytest.approx(bound))
    assert (every.low, every.high) == (pytest.approx(1 - bound), 1)


@pytest.mark.parametrize("k", [1, 4, 16])
def test_the_interval_covers_the_truth_as_often_as_it_says(k: int) -> None:
    """Problems of Beta(0.3, 0.7) difficulty, 16 samples each: 400 runs of 50 problems; 4 standard errors of the coverage are 0.044."""
    rng = np.random.default_rng(k)
    truth = np.mean(1 - (1 - rng.beta(0.3, 0.7, size=1_000_000)) ** k)
    covered = 0
    for run in range(400):
        num_correct_P = rng.binomial(16, rng.beta(0.3, 0.7, size=50))
        (point,) = pass_at_k_curve(np.full(50, 16), num_correct_P, [k], num_resamples=500, seed=run)
        covered += point.low <= truth <= point.high
    assert covered / 400 == pytest.approx(0.95, abs=0.044)


def test_a_lower_confidence_gives_a_shorter_interval() -> None:
    counts = [8] * 20, [0, 1, 2, 5, 8] * 4
    wide, short = one_point(*counts, 2, confidence=0.95), one_point(*counts, 2, confidence=0.5)
    assert wide.low < short.low < short.high < wide.high


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"confidence .* got 95"):
        pass_at_k_curve([4], [1], [1], confidence=95)
    with pytest.raises(ValueError, match=r"num_resamples .* got 0"):
        pass_at_k_curve([4], [1], [1], num_resamples=0)


@pytest.mark.parametrize(
    ("n", "expected"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8)), (9, (1, 2, 4, 8, 9))]
)
def test_ks_double_up_to_and_including_n(n: int, expected: tuple[int, ...]) -> None:
    assert ks_up_to(n) == expected


def test_ks_up_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="n=0"):
        ks_up_to(0)


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(module).attempted == 2
    assert doctest.testmod(module).failed == 0
