"""vLLM's V1 sampler, with a policy's FilteredLogitsProcessor between the filters and the draw.

Order, as in vLLM: penalties and masks -> temperature -> min-p -> top-k, top-p -> PROCESSOR -> draw. The processor gets logits divided by
the temperature. The draw takes the same random numbers from the same generators as stock vLLM, so a row that the processor leaves alone
gets the token stock vLLM would have given it.

Legend: B batch rows, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler, apply_top_k_top_p
from vllm.v1.sample.sampler import Sampler

from esamp.batch import GREEDY_TEMPERATURE, Draw
from esamp.logit_adjustment import FilteredLogitsProcessor


class ESampTopKTopPSampler(nn.Module):
    """vLLM's TopKTopPSampler, which filters and draws, with the processor in between."""

    def __init__(self, base: TopKTopPSampler) -> None:
        super().__init__()
        self.base = base
        self.processor: FilteredLogitsProcessor | None = None
        self.temperature_B: Tensor | None = None
        self.keeps_logits = False
        self.draws_twice = False
        """Draw once without the processor, from the same random numbers, to see which tokens it changes."""
        self.drawn_logits_BV: Tensor | None = None
        """What the latest draw was made from, if `keeps_logits`."""
        self.stock_tokens_B: Tensor | None = None
        """[B] what would have been drawn without the processor, if `draws_twice`."""

    def forward(
        self, logits: Tensor, generators: dict[int, torch.Generator], k: Tensor | None, p: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Token ids [B] and, for processed log-probability modes, the logits or log-probabilities drawn from."""
        if self.processor is None and not self.keeps_logits:
            return self.base(logits, generators, k, p)
        logits = apply_top_k_top_p(logits, k, p)
        if self.processor is not None:
            assert self.temperature_B is not None, "a processor was set for a batch that is all greedy"
            if self.draws_twice:
                with random_numbers_kept(logits.device, generators):
                    self.stock_tokens_B = self.base(logits.clone(), generators, None, None)[0]
            logits = self.processor(logits, self.temperature_B)
        if self.keeps_logits:
            self.drawn_logits_BV = logits
        return self.base(logits, generators, None, None)


@contextmanager
def random_numbers_kept(device: torch.device, generators: dict[int, torch.Generator]) -> Iterator[None]:
    """Restore the state of all generators afterwards, so that the next draw repeats the random numbers used inside."""
    states = {row: generator.get_state() for row, generator in generators.items()}
    with torch.random.fork_rng([device.index] if device.type == "cuda" else [], device_type=device.type):
        yield
    for row, generator in generators.items():
        generator.set_state(states[row])


class ESampSampler(Sampler):
    """Drop-in for vLLM's V1 sampler. Call `prepare` before a step; read `draw` and `tokens_B` after it."""

    def __init__(self, stock: Sampler) -> None:
        """Takes over the settings of the sampler it replaces."""
        super().__init__(stock.logprobs_mode, stock.use_fp64_gumbel)
        self.topk_topp = ESampTopKTopPSampler(TopKTopPSampler(stock.logprobs_mode, stock.use_fp64_gumbel))
        self.topk_topp_sampler = self.topk_topp
        self.is_recording = False
        self.sees_plain_model = True
        """The logits of the coming step are the plain model's, so that its log-probabilities can be recorded."""
        self.draw: Draw | None = None
        self.tokens_B: Tensor | None = None
        """Tokens of the latest step."""

    def prepare(self, processor: FilteredLogitsProcessor | None, *, is_recording: bool, sees_plain_model: bool) -> None:
        """Set the processor of the coming step, and whether to record its tokens."""
        self.topk_topp.processor = processor
        self.is_recording = self.topk_topp.keeps_logits = is_recording
        self.sees_plain_model = sees_plain_model
        self.topk_topp.draws_twice = is_recording and sees_plain_model
        self.draw = None

    def forward(self, logits: Tensor, sampling_metadata: SamplingMetadata, *args, **kwargs):  # type: ignore[no-untyped-def]
        """As vLLM's; leaves the tokens in `tokens_B` and, if `is_recording`, what is known of them in `draw`."""
        self.topk_topp.temperature_B = sampling_metadata.temperature
        # vLLM scales fp32 logits in place, so the plain model's must be kept first.
        plain_BV = logits.float().clone() if self.is_recording and self.sees_plain_model else None
        output = super().forward(logits, sampling_metadata, *args, **kwargs)
        self.tokens_B = output.sampled_token_ids.squeeze(1)
        if self.is_recording:
            self.draw = self._describe(output.sampled_token_ids.long(), plain_BV, sampling_metadata)
        self.topk_topp.processor = self.topk_topp.drawn_logits_BV = self.topk_topp.stock_tokens_B = None
        return output

    def _describe(self, tokens_B1: Tensor, plain_BV: Tensor | None, metadata: SamplingMetadata) -> Draw:
        size, device = len(tokens_B1), tokens_B1.device
        is_greedy_B = torch.ones(size, dtype=torch.bool, device=device)
        behaviour_B = torch.zeros(size, device=device)
        num_candidates_B = torch.ones(size, device=device)
        if metadata.temperature is not None and self.topk_topp.drawn_logits_BV is not None:
            is_greedy_B = metadata.temperature < GREEDY_TEMPERATURE
            drawn_from_BV = self.topk_topp.drawn_logits_BV
            behaviour_B = torch.where(is_greedy_B, 0.0, logprobs_of(tokens_B1, drawn_from_BV))
            num_candidates_B = torch.where(is_greedy_B, 1.0, (drawn_from_BV > -torch.inf).sum(-1).float())
        stock_B = self.topk_topp.stock_tokens_B
        return Draw(
            behaviour_logprobs_B=behaviour_B,
            policy_logprobs_B=torch.full_like(behaviour_B, torch.nan)
            if plain_BV is None
            else logprobs_of(tokens_B1, plain_BV),
            num_candidates_B=num_candidates_B,
            is_flipped_B=~is_greedy_B & (stock_B != tokens_B1.squeeze(1))
            if stock_B is not None
            else torch.zeros_like(is_greedy_B),
        )


def logprobs_of(tokens_B1: Tensor, logits_BV: Tensor) -> Tensor:
    """Log-probability [B] of each row's token."""
    return logits_BV.gather(1, tokens_B1).squeeze(1) - logits_BV.logsumexp(-1)
