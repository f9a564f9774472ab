"""How old the weights are that a step's groups are predicted with, and how much of beta they are trusted with.

Legend: B batch rows, R exploring rows, G live groups of the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from esamp.config import ESampConfig
from esamp.distiller.learner import Learner
from esamp.distiller.prompt_groups import PromptGroup
from esamp.exploration.row_plan import RowPlan


@dataclass(frozen=True, slots=True)
class WeightAges:
    """Of each live group of a step, in the plan's order."""

    lags: tuple[int, ...]
    """[G] decode steps, this one included, since the newest that the weights have learned from."""
    versions: tuple[str, ...]
    """[G]"""
    shares: tuple[float, ...]
    """[G] share of beta, 0 to 1: less than 1 while a slot warms up, and once its weights are stale."""

    @classmethod
    def after_one_more_step(cls, groups: Sequence[PromptGroup], learner: Learner, config: ESampConfig) -> "WeightAges":
        """Counts the step in each group, then reads the weights' versions."""
        lags, versions, shares = [], [], []
        for group in groups:
            assert group.slot is not None
            group.steps_seen += 1
            version = learner.version(group.slot)
            lags.append(group.steps_seen - version.learned)
            versions.append(str(version))
            shares.append(share_of_beta(version.step, lags[-1], config))
        return cls(tuple(lags), tuple(versions), tuple(shares))

    @property
    def are_trusted(self) -> bool:
        """True if every group has all of its beta."""
        return all(share == 1 for share in self.shares)

    def scale(self, plan: RowPlan) -> Tensor:
        """Beta [R] of the plan's rows, lowered by the share of each row's group."""
        return plan.beta_R * torch.tensor(self.shares, device=plan.beta_R.device)[plan.group_R]

    def stale_rows(self, plan: RowPlan, max_staleness: int) -> int:
        """Rows of the plan whose beta is lowered for the age of their weights."""
        # A slot that is warming up has no beta either, and is not stale.
        is_stale_G = [share < 1 and lag > max_staleness / 2 for share, lag in zip(self.shares, self.lags, strict=True)]
        return int(np.array(is_stale_G)[plan.group_B[list(plan.rows)]].sum())


def share_of_beta(steps: int, lag: int, config: ESampConfig) -> float:
    """Share of beta, 0 to 1, for weights that have trained for `steps` and lag by `lag` decode steps."""
    if steps < config.warmup_steps:
        return 0.0
    # Weights that never learn are the point of trainer="none", and a set lag that of lag=...: neither is stale.
    if config.trainer in ("none", "sync", "local"):
        return 1.0
    return stale_beta(1.0, lag, config.max_staleness)


def stale_beta(beta: float, lag: float, max_staleness: int) -> float:
    """beta, lowered linearly to 0 as `lag` (decode steps) goes from half of `max_staleness` to all of it.

    A Distiller that no longer learns goes on penalising what it once knew, so its influence fades. The paper trains in step and has no such
    case.
    """
    half = max_staleness / 2
    return beta * min(1.0, max(0.0, (max_staleness - lag) / half))
