"""pass@k of runs that stop early: after r correct samples, or after m samples without any.

Stopping after successes makes the plain c/n too high; the textbook case is stopping at the first success. Counting orders stays
unbiased: given where a problem stopped, every order of its samples that would have stopped there is equally likely, and the share
of those orders with a correct sample among the first k is unbiased (Girshick, Mosteller and Savage 1946; for k = 1 and r >= 2 it is
Haldane's (r-1)/(n-1), 1945).

Assumed: samples are launched one after the other and are exchangeable, given the problem; independence is not needed. With r = 1 nothing
is averaged, the estimate is what the first k samples did, and exchangeability is not needed either.

Legend: P problems; n samples generated for a problem, c of them correct.
"""

from math import comb

import numpy as np
import numpy.typing as npt

from pipelines.statistics.interval import Interval, mean_interval
from pipelines.statistics.stopping_rule import StoppingRule


def adaptive_pass_at_k(n: int, c: int, k: int, rule: StoppingRule) -> float:
    """Unbiased estimate of "one of the first k samples is correct" from a problem that stopped with c correct of n samples.

    NaN where it cannot be estimated: k beyond `give_up_after`, where problems given up on would have had to go on. This holds for every
    problem, solved ones too: to keep only those would bias the mean upwards. Raises ValueError if the rule does not stop there, or k < 1.
    """
    if k < 1:
        raise ValueError(f"k must be >= 1; got k={k}.")
    if not rule.allows(n, c):
        raise ValueError(f"{rule} does not stop with {c} correct of {n} samples; count its samples in launch order.")
    if k > rule.give_up_after:
        return float("nan")
    if c == 0:
        return 0.0
    # At r successes the last sample is correct and the others are in any order; at the limit all are.
    free, placed = (n - 1, c - 1) if c == rule.successes else (n, c)
    orders = comb(free, placed) - orders_without(rule.give_up_after, free, placed, n)
    missing = orders_without(k, free, placed, n)
    return 1 - (missing - orders_without(rule.give_up_after, free, placed, n)) / orders


def orders_without(first: int, free: int, placed: int, n: int) -> int:
    """Orders whose first so many samples are all wrong: `placed` correct ones among `free` places. 0 if they reach sample n."""
    return comb(free - first, placed) if first < n and first <= free else 0


def adaptive_curve(
    num_samples_P: npt.ArrayLike, correct_P: npt.ArrayLike, ks: list[int], rule: StoppingRule, *, seed: int = 0
) -> list[Interval]:
    """The estimate at each k with its interval over problems; NaN for k beyond `give_up_after`."""
    counts = list(zip(np.asarray(num_samples_P).tolist(), np.asarray(correct_P).tolist(), strict=True))
    return [mean_interval([adaptive_pass_at_k(n, c, k, rule) for n, c in counts], seed=seed) for k in ks]
