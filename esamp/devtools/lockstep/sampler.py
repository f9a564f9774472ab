"""Generates all samples of many problems together, with plain transformers and no engine; the parts of ESamp are those of the engine.

    round 1   prompts -> token 1 -> token 2 -> ...      all samples of a round are at the same token
    round 2   prompts -> ...                            the Distillers keep what they learned from round 1

Every sample has random numbers of its own (seed, problem, sample, token), the same under every condition: a sample differs between two
conditions only from the first token on that one of them changes.

Legend: P problems, N samples of each, T longest sample, V vocabulary, H hidden size, M samples of a round, B = P * M rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from esamp.devtools.lockstep.config import LockstepConfig
from esamp.distiller.background import background_executor
from esamp.distiller.bank import Forward
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.interface import build_bank
from esamp.distiller.learner import build_learner
from esamp.distiller.predictors import build_predictor
from esamp.distiller.warmup import build_warmup
from esamp.fusion.forms import build_fusion

NO_TOKEN = -1
"""Padding after the end of a sample."""


@dataclass(frozen=True, slots=True, eq=False)
class LockstepSamples:
    """Generated tokens, and the logits they were drawn from. NaN where there is no token, and where the Distiller took no part."""

    tokens_PNT: Tensor
    """int64; `NO_TOKEN` after the end token, which is included."""
    logits_PNTV: Tensor
    """fp16: the plain model's, before temperature."""
    shifts_PNTV: Tensor
    """fp16: fused logits minus plain ones, before temperature."""
    error_PNT: Tensor
    """|h - prediction|"""
    norm_PNT: Tensor
    """|h|"""


class RowMemory:
    """All rows so far, by slot: the replay buffer."""

    def __init__(self, num_slots: int) -> None:
        self._rows: list[list[Tensor]] = [[] for _ in range(num_slots)]
        """[S] of [2, R, H]: source and target of each step."""
        self._generator = torch.Generator().manual_seed(0)

    def add(self, rows: HiddenRows) -> None:
        """Keep the rows of a step."""
        both_2RH, slots_R = torch.stack([rows.source_RH, rows.target_RH]), torch.tensor(rows.slots)
        for slot in set(rows.slots):
            self._rows[slot].append(both_2RH[:, slots_R == slot])

    def choose(self, count: int) -> HiddenRows:
        """`count` rows of every slot that has any, at random with replacement."""
        chosen, slots = [], []
        for slot, steps in enumerate(self._rows):
            if steps:
                self._rows[slot] = [torch.cat(steps, dim=1)]
                rows_2RH = self._rows[slot][0]
                chosen.append(rows_2RH[:, torch.randint(rows_2RH.shape[1], (count,), generator=self._generator)])
                slots += [slot] * count
        source_RH, target_RH = torch.cat(chosen, dim=1)
        return HiddenRows.of(source_RH, target_RH, tuple(slots))


class LockstepSampler:
    """Generates the samples of some problems under one condition."""

    def __init__(
        self, model: PreTrainedModel, config: LockstepConfig, prompts: list[list[int]], *, samples: int, max_tokens: int
    ) -> None:
        """`prompts`: token ids, at least one each; `samples` must be a multiple of config.rounds."""
        if samples % config.rounds:
            raise ValueError(f"samples must be a multiple of rounds={config.rounds}; got {samples}.")
        self.model, self.config, self.prompts = model, config, prompts
        self.problems, self.samples, self.round_samples = len(prompts), samples, samples // config.rounds
        self.max_tokens = max_tokens
        vocabulary: int = model.config.vocab_size
        shape = (self.problems, samples, max_tokens)
        self.generated = LockstepSamples(
            torch.full(shape, NO_TOKEN),
            torch.full((*shape, vocabulary), torch.nan, dtype=torch.float16),
            torch.full((*shape, vocabulary), torch.nan, dtype=torch.float16),
            torch.full(shape, torch.nan),
            torch.full(shape, torch.nan),
        )
        esamp = config.esamp
        gain_H: Tensor = model.model.norm.weight.detach().float()
        self.head_weight_VH: Tensor = model.lm_head.weight.detach().float()
        num_slots = esamp.distiller_scope.num_slots(self.problems)
        self.bank = build_bank(esamp, gain_H, num_slots=num_slots, head_weight_VH=self.head_weight_VH)
        self.learner = build_learner(esamp, self.bank, background_executor(self.bank.device))
        assert self.learner is not None
        self.predictor, self.fusion, self.warmup = (
            build_predictor(esamp, self.bank),
            build_fusion(esamp),
            build_warmup(esamp),
        )
        self.memory = RowMemory(num_slots)
        for slot in range(num_slots):
            self.learner.open(slot, str(slot))

    @torch.inference_mode()
    def draw(self, seeds: list[int]) -> LockstepSamples:
        """All rounds; `seeds` [P], one for each problem."""
        noise_PNTV = torch.stack([self._noise(seed) for seed in seeds])
        for round_ in range(self.config.rounds):
            self._generate_round(round_, noise_PNTV)
        return self.generated

    def _noise(self, seed: int) -> Tensor:
        """Gumbel noise [N, T, V] of a problem: a token is the largest of logits plus noise."""
        noise_NTV = torch.empty(self.generated.logits_PNTV.shape[1:])
        return -noise_NTV.exponential_(generator=torch.Generator().manual_seed(seed)).log()

    def _generate_round(self, round_: int, noise_PNTV: Tensor) -> None:
        m = self.round_samples
        problem_B = torch.arange(self.problems).repeat_interleave(m)
        sample_B = torch.arange(round_ * m, (round_ + 1) * m).repeat(self.problems)
        ids_BL, mask_BL = self._padded_prompts(m)
        cache, alive_B = None, torch.ones(len(problem_B), dtype=torch.bool)
        for t in range(self.max_tokens):
            positions_BL = (mask_BL.cumsum(1) - 1).clamp(min=0)[:, -ids_BL.shape[1] :]
            output = self.model(
                input_ids=ids_BL,
                attention_mask=mask_BL,
                position_ids=positions_BL,
                past_key_values=cache,
                output_hidden_states=True,
                use_cache=True,
            )
            cache = output.past_key_values
            source_BH = output.hidden_states[self.config.esamp.source_layer][:, -1].float()
            target_BH = output.hidden_states[-1][:, -1].float()
            plain_BV = output.logits[:, -1].float()
            # The first token comes from the prompt's row, which is no decode row: it stays vanilla and is not learned from.
            adjusted_BV = (
                self._adjust(source_BH, target_BH, plain_BV, problem_B, sample_B, alive_B, t) if t else plain_BV
            )
            noise_BV = noise_PNTV[problem_B, sample_B, t]
            token_B = (adjusted_BV / self.config.temperature + noise_BV).argmax(-1)
            alive = alive_B.nonzero().squeeze(1)
            place = (problem_B[alive], sample_B[alive], t)
            self.generated.tokens_PNT[place] = token_B[alive]
            self.generated.logits_PNTV[place] = plain_BV[alive].half()
            alive_B = alive_B & (token_B != self.model.config.eos_token_id)
            if not alive_B.any():
                return
            ids_BL = token_B.unsqueeze(1)
            mask_BL = torch.cat([mask_BL, torch.ones_like(ids_BL)], dim=1)

    def _adjust(
        self,
        source_BH: Tensor,
        target_BH: Tensor,
        plain_BV: Tensor,
        problem_B: Tensor,
        sample_B: Tensor,
        alive_B: Tensor,
        t: int,
    ) -> Tensor:
        """Fused logits [B, V], fp32; then trains on the rows."""
        config = self.config
        if config.esamp.beta == 0:
            return plain_BV
        assert self.learner is not None
        alive = alive_B.nonzero().squeeze(1)
        slots_R = torch.zeros_like(alive) if config.esamp.is_shared else problem_B[alive]
        rows = HiddenRows.of(source_BH[alive], target_BH[alive], tuple(slots_R.tolist()))
        self.learner.refresh()
        prediction = self.predictor.predict(rows)
        beta_R = self.warmup.scale(torch.full((len(alive),), config.esamp.beta), self.bank, slots_R)
        z_dist_RV = prediction.hidden_RH @ self.head_weight_VH.T / config.temperature
        z_ref_RV = plain_BV[alive] / config.temperature
        fused_RV = self.fusion.fuse(z_ref_RV, z_dist_RV, beta_R) * config.temperature
        is_finite_R1 = torch.isfinite(z_dist_RV.sum(-1, keepdim=True))
        fused_RV = torch.where(is_finite_R1, fused_RV, plain_BV[alive])
        place = (problem_B[alive], sample_B[alive], t)
        self.generated.shifts_PNTV[place] = (fused_RV - plain_BV[alive]).half()
        self.generated.error_PNT[place] = (rows.target_RH - prediction.hidden_RH).norm(dim=-1)
        self.generated.norm_PNT[place] = rows.target_RH.norm(dim=-1)
        self._learn(rows, prediction.forward)
        return plain_BV.index_copy(0, alive, fused_RV)

    def _learn(self, rows: HiddenRows, forward: Forward | None) -> None:
        """The optimiser steps of a token."""
        assert self.learner is not None
        if self.config.replay:
            self.memory.add(rows)
        for step in range(self.config.train_steps):
            if self.config.replay:
                self.learner.learn(self.memory.choose(self.config.replay), None)
            else:
                self.learner.learn(rows, forward if step == 0 else None)
            self.learner.refresh()

    def _padded_prompts(self, repeats: int) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask [B, L], padded on the left."""
        longest = max(map(len, self.prompts))
        ids_PL = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in self.prompts])
        mask_PL = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in self.prompts])
        return ids_PL.repeat_interleave(repeats, 0), mask_PL.repeat_interleave(repeats, 0)
