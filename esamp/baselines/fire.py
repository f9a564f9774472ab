"""FIRE, Flaming-hot Initiation with Regular Execution: the first token of each answer is drawn at a very high temperature among the
most likely, the rest as usual (arXiv:2410.21236).

The ESamp paper (arXiv:2604.24927) compares with it at temperatures 10, 30 and 50 and leaves open the k of its top-k and the
temperature afterwards. Ours: k is a setting, and later tokens are drawn with the request's own parameters. Those hold for the first
token too, all but the temperature: the k most likely are taken from what the request's filters left, so top-p and min-p at an
ordinary temperature make FIRE weaker. Run it without them for FIRE as published.

Legend: B batch rows, R rows that draw a first token, V vocabulary, K candidates.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from esamp.baselines.config import FireConfig
from esamp.baselines.request_tracker import TrackedRequests, row_index
from esamp.engine.adapter import BatchStep, NewRequest
from esamp.policy import Counters, StepPlan
from esamp.telemetry import PolicyMeasures


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


class FirePolicy:
    """FIRE in one worker: a SamplingPolicy."""

    def __init__(self, config: FireConfig) -> None:
        self.config = config
        # There is nothing to remember of a request but that it takes part.
        self._tracked = TrackedRequests[str](lambda request: request.request_id)

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """See SamplingPolicy."""
        self._tracked.follow(finished, new)

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Heat up first tokens. A preempted request that was read again ends on a token it had drawn, so it counts as decoding."""
        rows = [row for row in self._tracked.drawing(step) if not step.is_decode[row]]
        if not rows:
            self._tracked.take_part(step, None)
            return StepPlan()
        rows_R = row_index(rows, step.target_BH.device)
        self._tracked.take_part(step, rows_R)
        return StepPlan(HotDraw(rows_R, self.config.first_temperature, self.config.first_top_k))

    def after_sampling(self, step: BatchStep, tokens_B: Tensor) -> None:
        """Nothing is learned."""

    def measures(self, step: BatchStep) -> PolicyMeasures:
        """See SamplingPolicy."""
        return self._tracked.measures(step)

    def counters(self) -> Counters:
        """See SamplingPolicy."""
        return self._tracked.counters()
