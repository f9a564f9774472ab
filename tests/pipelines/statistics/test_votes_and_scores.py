"""maj@k, best-of-k and pass^k against enumeration of every subset."""

import doctest
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from pipelines.statistics import best_of_k as best_module
from pipelines.statistics import majority as majority_module
from pipelines.statistics.best_of_k import best_of_k, pass_hat_k
from pipelines.statistics.majority import maj_at_k


def vote(answers: list[str | None], correct: list[bool], subset: tuple[int, ...]) -> float:
    """One majority vote, ties and verdicts in expectation."""
    votes = Counter(answers[i] for i in subset if answers[i] is not None)
    if not votes:
        return 0.0
    winners = [answer for answer, count in votes.items() if count == max(votes.values())]
    share = [np.mean([ok for a, ok in zip(answers, correct, strict=True) if a == winner]) for winner in winners]
    return float(np.mean(share))


def test_maj_at_k_equals_enumeration() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        size = int(rng.integers(1, 9))
        answers = [None if code == 0 else "abcd"[code - 1] for code in rng.integers(0, 5, size).tolist()]
        correct = [answer is not None and (answer == "a" or rng.random() < 0.1) for answer in answers]
        for k in range(1, size + 1):
            every = [vote(answers, correct, subset) for subset in combinations(range(size), k)]
            assert maj_at_k(answers, correct, k) == pytest.approx(np.mean(every)), (answers, correct, k)


def test_maj_at_1_is_pass_at_1_and_a_clear_majority_wins_with_k() -> None:
    answers = ["4"] * 6 + ["5"] * 3 + [None]
    correct = [answer == "4" for answer in answers]
    assert maj_at_k(answers, correct, 1) == pytest.approx(0.6)
    assert maj_at_k(answers, correct, 10) == 1.0
    assert maj_at_k(answers, [answer == "5" for answer in answers], 10) == 0.0


def test_more_samples_hurt_where_the_most_frequent_answer_is_wrong() -> None:
    answers = ["4"] * 20 + ["5"] * 44
    at = [maj_at_k(answers, [answer == "4" for answer in answers], k) for k in (1, 9, 33, 64)]
    assert at == sorted(at, reverse=True) and at[-1] == 0


def test_large_groups_are_exact_in_integers_where_floats_would_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["4"] * 30 + ["5"] * 25 + ["6"] * 20 + [None] * 5
    correct = [answer == "4" for answer in answers]
    in_floats = majority_module.maj_curve(answers, correct, [1, 8, 40, 80, 81])
    monkeypatch.setattr(majority_module, "LARGEST_IN_FLOATS", 0)
    in_integers = majority_module.maj_curve(answers, correct, [1, 8, 40, 80, 81])
    assert in_floats == pytest.approx(in_integers, rel=1e-12, nan_ok=True) and np.isnan(in_floats[-1])
    monkeypatch.undo()
    large = ["4"] * 700 + ["5"] * 500
    assert maj_at_k(large, [answer == "4" for answer in large], 1) == pytest.approx(700 / 1200)


def test_no_votes_are_wrong_and_too_few_samples_undefined() -> None:
    assert maj_at_k([None, None], [False, False], 2) == 0.0
    assert np.isnan(maj_at_k(["4"], [True], 2))
    assert np.isnan(best_of_k([1.0], [1.0], 2)) and np.isnan(pass_hat_k(2, 2, 3))


def test_best_of_k_equals_enumeration_with_ties() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        size = int(rng.integers(1, 8))
        scores, values = rng.integers(0, 3, size), rng.random(size)
        for k in range(1, size + 1):
            every = [
                values[[i for i in subset if scores[i] == scores[list(subset)].max()]].mean()
                for subset in combinations(range(size), k)
            ]
            assert best_of_k(scores, values, k) == pytest.approx(np.mean(every))


def test_a_nan_score_cannot_be_ranked() -> None:
    assert np.isnan(best_of_k([0.5, np.nan], [1, 0], 1))


def test_pass_hat_k_equals_enumeration() -> None:
    for n in range(1, 7):
        for c in range(n + 1):
            for k in range(1, n + 1):
                every = [max(subset) < c for subset in combinations(range(n), k)]
                assert pass_hat_k(n, c, k) == pytest.approx(np.mean(every))


def test_bad_arguments_are_refused() -> None:
    for call in (lambda: maj_at_k(["a"], [True], 0), lambda: best_of_k([1], [1], 0), lambda: pass_hat_k(1, 1, 0)):
        with pytest.raises(ValueError, match="k=0"):
            call()
    with pytest.raises(ValueError, match="got 1 and 2"):
        maj_at_k(["a"], [True, False], 1)
    with pytest.raises(ValueError, match="c=3, n=2"):
        pass_hat_k(2, 3, 1)


def test_examples_in_docstrings_hold() -> None:
    for module in (majority_module, best_module):
        assert doctest.testmod(module).failed == 0 and doctest.testmod(module).attempted
