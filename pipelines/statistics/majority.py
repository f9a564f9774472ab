"""maj@k: the answer that most of k samples give (self-consistency, Wang et al. 2022, arXiv:2203.11171), exactly over all k-subsets.

Legend: N samples of one problem, K values of k.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from math import comb

import numpy as np
import numpy.typing as npt

LARGEST_IN_FLOATS = 1000
"""Up to so many samples binomials fit into floats. All terms are positive, so nothing cancels; beyond, Python's integers are used."""


def maj_at_k(answers_N: Sequence[Hashable | None], correct_N: npt.ArrayLike, k: int) -> float:
    """Probability that the majority vote of k samples, taken at random without replacement, is correct: see `maj_curve`.

    >>> maj_at_k(["4", "4", "5"], [True, True, False], 3)
    1.0
    """
    (value,) = maj_curve(answers_N, correct_N, [k])
    return value


def maj_curve(answers_N: Sequence[Hashable | None], correct_N: npt.ArrayLike, ks: Sequence[int]) -> list[float]:
    """maj@k at each k of `ks`.

    Answers are votes and equal if they are equal as values: give them in a normal form ("1/2" and "0.5" are two answers). None is a
    sample without an answer: it may be among the k and casts no vote; without any vote the vote is wrong. A tie is broken at random. An
    answer is as correct as the share of its samples that are: verdicts may depend on more than the answer. Exact, not simulated; like
    pass@k it is for a random k-subset of this group. NaN if k > N. Raises ValueError if k < 1 or the lengths differ.
    """
    correct = np.asarray(correct_N, dtype=bool)
    if len(answers_N) != len(correct):
        raise ValueError(f"answers and verdicts must be as many; got {len(answers_N)} and {len(correct)}.")
    for k in ks:
        if k < 1:
            raise ValueError(f"k must be >= 1; got k={k}.")
    possible = [k for k in ks if k <= len(answers_N)]
    votes = Counter(answer for answer in answers_N if answer is not None)
    right = Counter(answer for answer, ok in zip(answers_N, correct, strict=True) if ok and answer is not None)
    abstaining = len(answers_N) - votes.total()
    wins = dict.fromkeys(possible, 0.0)
    for answer, num_right in right.items():
        others = [count for other, count in votes.items() if other != answer]
        for k, wins_k in zip(possible, wins_probabilities(votes[answer], others, abstaining, possible), strict=True):
            wins[k] += num_right / votes[answer] * wins_k
    return [wins.get(k, float("nan")) for k in ks]


def wins_probabilities(own: int, others: list[int], abstaining: int, ks: list[int]) -> list[float]:
    """Probability that an answer with `own` votes wins among k of own + others + abstaining samples, at each k.

    Sum over t own votes in the subset of: ways to fill the other k - t places with no other answer above t, a tie with r others counting
    1 / (1 + r).
    """
    total = own + sum(others) + abstaining
    won = [0.0] * len(ks)
    for t in range(1, min(own, max(ks, default=0)) + 1):
        ways_RS = ways_to_stay_below(others, abstaining, max(ks) - t, t)
        for index, k in enumerate(ks):
            if k >= t:
                for tied, ways in enumerate(ways_RS[:, k - t].tolist()):
                    # Python's own numbers: the quotient of two large integers is exact, and floats are what they are.
                    won[index] += comb(own, t) * ways / comb(total, k) / (1 + tied)
    return won


def ways_to_stay_below(others: list[int], abstaining: int, places: int, limit: int) -> npt.NDArray:
    """Ways to fill s places with none of the others above `limit` votes, by the number r of others that reach it: [r, s]."""
    dtype = float if sum(others) + abstaining + limit <= LARGEST_IN_FLOATS else object
    most_tied = min(len(others), places // limit)
    ways_RS = np.zeros((most_tied + 1, places + 1), dtype=dtype)
    for size in range(min(abstaining, places) + 1):
        ways_RS[0, size] = comb(abstaining, size)
    for count in others:
        grown_RS = np.zeros_like(ways_RS)
        for taken in range(min(count, limit, places) + 1):
            chosen = comb(count, taken) * ways_RS[:, : places + 1 - taken]
            if taken < limit:
                grown_RS[:, taken:] += chosen
            else:
                grown_RS[1:, taken:] += chosen[:-1]
        ways_RS = grown_RS
    return ways_RS
