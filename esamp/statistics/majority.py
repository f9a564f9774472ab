"""maj@k: the answer that most of k samples give (self-consistency, Wang et al. 2022, arXiv:2203.11171), exactly over all k-subsets.

Legend: N samples of one problem, A distinct answers.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import comb

import numpy as np
import numpy.typing as npt


def maj_at_k(answers_N: Sequence[Hashable | None], correct_N: npt.ArrayLike, k: int) -> float:
    """Probability that the majority vote of k samples, taken at random without replacement, is correct.

    Answers are votes and equal if they are equal as values: give them in a normal form ("1/2" and "0.5" are two answers). None is a
    sample without an answer: it may be among the k and casts no vote; without any vote the vote is wrong. A tie is broken at random. An
    answer is as correct as the share of its samples that are: verdicts may depend on more than the answer. Exact, not simulated; like
    pass@k it is for a random k-subset of this group. NaN if k > N. Raises ValueError if k < 1 or the lengths differ.

    >>> maj_at_k(["4", "4", "5"], [True, True, False], 3)
    1.0
    """
    correct = np.asarray(correct_N, dtype=bool)
    if len(answers_N) != len(correct):
        raise ValueError(f"answers and verdicts must be as many; got {len(answers_N)} and {len(correct)}.")
    if k < 1:
        raise ValueError(f"k must be >= 1; got k={k}.")
    if k > len(answers_N):
        return float("nan")
    votes = Counter(answer for answer in answers_N if answer is not None)
    right = Counter(answer for answer, ok in zip(answers_N, correct, strict=True) if ok and answer is not None)
    abstaining = len(answers_N) - votes.total()
    wins = 0.0
    for answer, num_right in right.items():
        others = tuple(sorted(count for other, count in votes.items() if other != answer))
        wins += num_right / votes[answer] * wins_probability(votes[answer], others, abstaining, k)
    return wins


@lru_cache(maxsize=4096)
def wins_probability(own: int, others: tuple[int, ...], abstaining: int, k: int) -> float:
    """Probability that an answer with `own` votes wins among k of own + others + abstaining samples.

    Sum over t own votes in the subset of: ways to fill the other k - t places with no other answer above t, a tie with r others counting
    1 / (1 + r). In whole numbers, since the binomials of 64 samples exceed a float's digits.
    """
    won = Fraction(0)
    for t in range(1, min(own, k) + 1):
        for tied, ways in enumerate(ways_to_stay_below(others, abstaining, k - t, t)):
            won += Fraction(comb(own, t) * ways, 1 + tied)
    return float(won / comb(own + sum(others) + abstaining, k))


def ways_to_stay_below(others: tuple[int, ...], abstaining: int, places: int, limit: int) -> list[int]:
    """Ways to fill `places` with none of the others above `limit` votes, by the number of others that reach it."""
    most_tied = places // limit
    # ways[r][s]: with s places filled and r answers at the limit. Answers with equal counts have the same factor.
    ways = [[0] * (places + 1) for _ in range(most_tied + 1)]
    for size in range(min(abstaining, places) + 1):
        ways[0][size] = comb(abstaining, size)
    for count in others:
        grown = [[0] * (places + 1) for _ in range(most_tied + 1)]
        for tied, row in enumerate(ways):
            for size, number in enumerate(row):
                if not number:
                    continue
                for taken in range(min(count, limit, places - size) + 1):
                    reaches = tied + (taken == limit)
                    grown[reaches][size + taken] += number * comb(count, taken)
        ways = grown
    return [row[places] for row in ways]
