"""vLLM's V1 sampler with the Distiller's logits fused in, after the filters and before the draw.

Order, as in vLLM: penalties and masks -> temperature -> min-p -> top-k, top-p -> FUSE -> draw. Logits arrive at the fusion
divided by the temperature, so the Distiller's are divided by it too: the temperature acts once. Penalties are part of the reference
policy. The draw takes the same random numbers from the same generators as stock vLLM, so rows without an intervention get
the token stock vLLM would have given them.

Legend: B batch rows, R rows intervened on, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler, apply_top_k_top_p
from vllm.v1.sample.sampler import Sampler

from esamp.fusion import fuse_logits

GREEDY_TEMPERATURE = 1e-5
"""Below this vLLM takes the most likely token."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """The Distiller's say in one step."""

    rows_R: Tensor
    """[R] batch row of each."""
    z_dist_RV: Tensor
    """[R, V] Distiller logits, fp32, before temperature."""
    beta_R: Tensor
    """[R] strength, >= 0."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Log-probabilities [B] of the tokens drawn in one step."""

    behaviour_logprobs_B: Tensor
    policy_logprobs_B: Tensor


class FusingTopKTopP(nn.Module):
    """vLLM's filter-and-draw with the fusion in between."""

    def __init__(self, base: TopKTopPSampler) -> None:
        super().__init__()
        self.base = base
        self.intervention: Intervention | None = None
        self.temperature_B: Tensor | None = None
        self.keeps_logits = False
        self.drawn_logits_BV: Tensor | None = None
        """What the latest draw was made from, if `keeps_logits`."""

    def forward(
        self, logits: Tensor, generators: dict[int, torch.Generator], k: Tensor | None, p: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Token ids [B] and, for processed log-probability modes, the logits or log-probabilities drawn from."""
        if self.intervention is None and not self.keeps_logits:
            return self.base(logits, generators, k, p)
        logits = apply_top_k_top_p(logits, k, p)
        if self.intervention is not None:
            logits = self._fuse(logits, self.intervention)
        if self.keeps_logits:
            self.drawn_logits_BV = logits
        return self.base(logits, generators, None, None)

    def _fuse(self, logits: Tensor, step: Intervention) -> Tensor:
        assert self.temperature_B is not None, "rows to intervene on in a batch that is all greedy"
        z_dist_RV = step.z_dist_RV / self.temperature_B[step.rows_R].unsqueeze(1)
        return logits.index_copy(0, step.rows_R, fuse_logits(logits[step.rows_R], z_dist_RV, step.beta_R))


class ESampSampler(Sampler):
    """Drop-in for vLLM's V1 sampler. Set `intervention` and `is_recording` before a step; read `draw` after it."""

    def __init__(self, stock: Sampler) -> None:
        """Takes over the settings of the sampler it replaces."""
        super().__init__(stock.logprobs_mode, stock.use_fp64_gumbel)
        self.fusion = FusingTopKTopP(TopKTopPSampler(stock.logprobs_mode, stock.use_fp64_gumbel))
        self.topk_topp_sampler = self.fusion
        self.is_recording = False
        self.draw: Draw | None = None

    @property
    def intervention(self) -> Intervention | None:
        """What the Distiller says in the coming step; None leaves the step to vLLM."""
        return self.fusion.intervention

    @intervention.setter
    def intervention(self, step: Intervention | None) -> None:
        self.fusion.intervention = step

    def forward(self, logits: Tensor, sampling_metadata: SamplingMetadata, *args, **kwargs):  # type: ignore[no-untyped-def]
        """As vLLM's; leaves the log-probabilities of the drawn tokens in `draw` if `is_recording`."""
        self.draw = None
        self.fusion.temperature_B = sampling_metadata.temperature
        self.fusion.keeps_logits = self.is_recording
        # vLLM scales fp32 logits in place, so the plain model's log-probabilities must be taken first.
        plain_BV = self.compute_logprobs(logits) if self.is_recording else None
        output = super().forward(logits, sampling_metadata, *args, **kwargs)
        if plain_BV is not None:
            tokens_B1 = output.sampled_token_ids.long()
            self.draw = Draw(
                self._behaviour_logprobs(tokens_B1, sampling_metadata), plain_BV.gather(1, tokens_B1).squeeze(1)
            )
            self.fusion.drawn_logits_BV = None
        return output

    def _behaviour_logprobs(self, tokens_B1: Tensor, sampling_metadata: SamplingMetadata) -> Tensor:
        drawn_from_BV = self.fusion.drawn_logits_BV
        if drawn_from_BV is None or sampling_metadata.temperature is None:
            return torch.zeros(len(tokens_B1), device=tokens_B1.device)
        logprobs_B = drawn_from_BV.gather(1, tokens_B1).squeeze(1) - drawn_from_BV.logsumexp(-1)
        return torch.where(sampling_metadata.temperature < GREEDY_TEMPERATURE, 0.0, logprobs_B)
