"""Advantages of the rewards of one group.

Legend: N rollouts of a group.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

AdvantageName = Literal["grpo", "leave-one-out", "none"]
ADVANTAGE_EPS = 1e-4
"""Added to a group's standard deviation, as TRL's GRPOTrainer does; verl and slime add 1e-6."""


def grpo(rewards: Sequence[float]) -> list[float]:
    """(reward - mean) / (std + 1e-4), where std divides by N - 1, as verl, TRL and slime do.

    Outcome supervision of DeepSeekMath (arXiv:2402.03300), section 4.1.2. Rewards that are all the same have advantage 0, and so has a
    reward alone.

    >>> [round(advantage, 2) for advantage in grpo([1.0, 0.0])]
    [0.71, -0.71]
    """
    reward_N = np.asarray(rewards)
    if len(reward_N) < 2:
        return [0.0] * len(reward_N)
    return ((reward_N - reward_N.mean()) / (reward_N.std(ddof=1) + ADVANTAGE_EPS)).tolist()


def leave_one_out(rewards: Sequence[float]) -> list[float]:
    """Reward minus the mean of the others' (RLOO, arXiv:2402.14740, eq. 8); 0 for a reward alone.

    >>> leave_one_out([1.0, 0.0, 0.5])
    [0.75, -0.75, 0.0]
    """
    reward_N = np.asarray(rewards)
    if len(reward_N) < 2:
        return [0.0] * len(reward_N)
    return ((reward_N - reward_N.mean()) * len(reward_N) / (len(reward_N) - 1)).tolist()


ADVANTAGES: dict[AdvantageName, Callable[[Sequence[float]], list[float]] | None] = {
    "grpo": grpo,
    "leave-one-out": leave_one_out,
    "none": None,
}
"""From the rewards of a group to its advantages; None leaves them out."""
