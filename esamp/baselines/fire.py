"""FIRE, Flaming-hot Initiation with Regular Execution: the first token of each sample is drawn at a very high temperature among the
most likely, the rest as usual (arXiv:2410.21236).

The ESamp paper (arXiv:2604.24927) compares with it at temperatures 10, 30 and 50 and leaves open the k of its top-k and the
temperature afterwards. Ours: k is a setting, and later tokens are drawn with the request's own parameters. Those hold for the first
token too, all but the temperature: the k most likely are taken from what the request's filters left, so top-p and min-p at an
ordinary temperature make FIRE weaker. Run it without them for FIRE as published.

Legend: B batch rows, R rows that draw a first token, V vocabulary, K candidates.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from esamp.baselines.config import FireConfig
from esamp.batch import BatchStep
from esamp.policy import StepPlan
from esamp.request_policy import RequestPolicy, row_index


@dataclass(frozen=True, slots=True, eq=False)
class HotDraw:
    """A FilteredLogitsProcessor: the most likely tokens of some rows at another temperature."""

    rows: Tensor
    """[R]"""
    temperature: float
    top_k: int

    def __call__(self, logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
        z_RV = logits_BV[self.rows] * temperature_B[self.rows].unsqueeze(1)
        z_RK, token_RK = z_RV.topk(min(self.top_k, z_RV.shape[1]), dim=-1)
        logits_BV[self.rows] = torch.full_like(z_RV, -torch.inf).scatter_(1, token_RK, z_RK / self.temperature)
        return logits_BV


class FirePolicy(RequestPolicy[str]):
    """FIRE in one worker: a SamplingPolicy."""

    def __init__(self, config: FireConfig, worker: Any) -> None:
        # A request has no state here but that it is tracked.
        super().__init__(lambda request: request.request_id)
        self.config = config

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Plan the first tokens' hot draw. A preempted request that is read again ends on a generated token, so it counts as decoding."""
        rows = [row for row in self.rows_of(step) if not step.is_decode[row]]
        if not rows:
            self.intervene(step, None)
            return StepPlan()
        rows_R = row_index(rows, step.target_BH.device)
        self.intervene(step, rows_R)
        return StepPlan(HotDraw(rows_R, self.config.first_temperature, self.config.first_top_k))
