"""OverRIDE: sample j of a prompt is moved away from a model of sample j-1, which learns while both are generated.

Head t is a low-rank change of lm_head, dz_t = B_t A_t h, so that z + dz_t becomes the next-token model of sample t. Then

    sample 0           vanilla                      trains head 0
    sample j < rounds  draws from z - s dz_{j-1}    trains head j, unless it is the last
    sample >= rounds   vanilla

Heads are shared by all prompts and live as long as the engine. Each step of the engine is one Adam step on the cross-entropy of
z + dz_j on the tokens just drawn, averaged over all rows that learn. A head without rows in a step takes no Adam step.

This follows the authors' code (github.com/shi-rq/OverRIDE, modeling.py); like there, the first token counts like any other, and heads
learn with the model's plain logits. Different here: weights are fp32 whatever the model's type; the change comes after temperature and
filters, as dz / temperature, and not before them, so that every policy draws from the same candidates (without filters it is the same);
and a request says which sample it is, since vLLM's names of siblings do not tell which is which: one request per sample, n=1.

Legend: B batch rows, R rows, H hidden size, V vocabulary, r rank.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from esamp.baselines.config import OverrideConfig
from esamp.batch import BatchStep, NewRequest
from esamp.engine import adapter
from esamp.policy import StepPlan
from esamp.request_args import SAMPLE_KEY
from esamp.request_policy import RequestPolicy, row_index


class LowRankHead:
    """dz = B A h, fp32, learning with Adam."""

    def __init__(self, config: OverrideConfig, down_rH: Tensor, vocab_size: int) -> None:
        """Starts at A = `down_rH` [r, H] and B = 0."""
        # vLLM calls its workers in inference mode; weights made there could not be touched outside it.
        with torch.inference_mode(False), torch.no_grad():
            self.down_rH = down_rH.clone()
            self.up_Vr = torch.zeros(vocab_size, len(down_rH), device=down_rH.device)
            self._adam = torch.optim.Adam([self.down_rH, self.up_Vr], lr=config.learning_rate)

    def delta(self, hidden_RH: Tensor) -> Tensor:
        """dz [R, V]."""
        return hidden_RH @ self.down_rH.T @ self.up_Vr.T

    @torch.no_grad()
    def learn(self, hidden_RH: Tensor, plain_RV: Tensor, tokens_R: Tensor, *, num_rows: int) -> None:
        """One step on the sum over rows of the cross-entropy of z + dz on the tokens, divided by `num_rows`.

        Rows with a non-finite number do not count.
        """
        is_finite_R1 = torch.isfinite(hidden_RH.sum(-1, keepdim=True) + plain_RV.logsumexp(-1, keepdim=True))
        hidden_RH = torch.where(is_finite_R1, hidden_RH, 0.0)
        inner_Rr = hidden_RH @ self.down_rH.T
        d_logits_RV = (plain_RV + inner_Rr @ self.up_Vr.T).softmax(-1)
        d_logits_RV.scatter_add_(1, tokens_R.unsqueeze(1), d_logits_RV.new_full((len(tokens_R), 1), -1.0))
        d_logits_RV = torch.where(is_finite_R1, d_logits_RV, 0.0) / num_rows
        # By hand and not by autograd, which refuses tensors made in inference mode.
        self.up_Vr.grad = d_logits_RV.T @ inner_Rr
        self.down_rH.grad = (d_logits_RV @ self.up_Vr).T @ hidden_RH
        with torch.inference_mode(False):
            self._adam.step()


@dataclass(frozen=True, slots=True, eq=False)
class Override:
    """A FilteredLogitsProcessor: z - s dz."""

    rows: Tensor
    """[R]"""
    delta_RV: Tensor
    """dz at temperature 1; zeros for a row that stays vanilla."""
    strength: float

    def __call__(self, logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
        logits_BV[self.rows] -= self.strength * self.delta_RV / temperature_B[self.rows].unsqueeze(1)
        return logits_BV


@dataclass(frozen=True, slots=True, eq=False)
class TrainingBatch:
    """Rows of one step that one head learns from."""

    head: LowRankHead
    rows: Tensor
    """[R]"""
    hidden_RH: Tensor
    plain_RV: Tensor
    """The model's logits before temperature and filters."""


class OverridePolicy(RequestPolicy[int]):
    """OverRIDE in one worker: a SamplingPolicy."""

    def __init__(self, config: OverrideConfig, worker: Any) -> None:
        super().__init__(self._sample_of)
        self.config = config
        self._worker = worker
        self._training_batches: list[TrainingBatch] = []
        vocab_size, hidden_size = adapter.logits_shape(worker)
        # Its own generator: the global one draws the tokens of seedless requests.
        generator = torch.Generator().manual_seed(config.seed)
        self.heads = tuple(
            LowRankHead(
                config,
                torch.empty(config.rank, hidden_size)
                .normal_(std=config.init_scale, generator=generator)
                .to(worker.device),
                vocab_size,
            )
            for _ in range(config.rounds - 1)
        )
        """Head t models sample t; the last sample needs none, since no sample follows it."""

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Keep what the heads learn from; plan the change of the others' logits."""
        device = step.target_BH.device
        samples = self.rows_of(step)
        plain_BV = adapter.plain_logits(self._worker)
        # Indexing copies, as it must: vLLM scales the logits in place.
        self._training_batches = [
            TrainingBatch(self.heads[t], rows, step.target_BH[rows].float(), plain_BV[rows].float())
            for t, rows in rows_of_heads(samples, device)
            if t < len(self.heads)
        ]
        before = {row: sample - 1 for row, sample in samples.items() if sample > 0}
        if not before:
            self.intervene(step, None)
            return StepPlan()
        adjustment = rows_of_heads(before, device)
        delta_RV = torch.cat([self.heads[t].delta(step.target_BH[rows].float()) for t, rows in adjustment])
        is_finite_R = torch.isfinite(delta_RV).all(-1)
        rows_R = torch.cat([rows for _, rows in adjustment])
        self.intervene(step, rows_R, is_finite_R)
        delta_RV = torch.where(is_finite_R.unsqueeze(1), delta_RV, 0.0)
        return StepPlan(Override(rows_R, delta_RV, self.config.strength))

    def after_sampling(self, step: BatchStep, tokens_B: Tensor) -> None:
        """Each head learns the tokens of its own sample."""
        num_rows = sum(len(batch.rows) for batch in self._training_batches)
        for batch in self._training_batches:
            tokens_R = tokens_B[batch.rows].long()
            batch.head.learn(batch.hidden_RH, batch.plain_RV, tokens_R, num_rows=num_rows)
        self.count_training(rows=num_rows, optimiser_steps=len(self._training_batches))
        self._training_batches = []

    def _sample_of(self, request: NewRequest) -> int | None:
        sample = request.extra_args.get(SAMPLE_KEY)
        if type(sample) is not int or sample < 0:
            raise ValueError(f"{SAMPLE_KEY} must be an int >= 0; got {sample!r}")
        return sample if sample < self.config.rounds else None


def rows_of_heads(head_of_row: dict[int, int], device: torch.device) -> list[tuple[int, Tensor]]:
    """(head, its rows [R]), by ascending head; rows of a head in their order."""
    return [
        (head, row_index([row for row, its_head in head_of_row.items() if its_head == head], device))
        for head in sorted(set(head_of_row.values()))
    ]
