"""vLLM's V1 sampler, with a policy's FilteredLogitsProcessor between the filters and the draw.

Order, as in vLLM: penalties and masks -> temperature -> min-p -> top-k, top-p -> PROCESSOR -> draw. The processor gets logits divided by
the temperature. The draw takes the same random numbers from the same generators as stock vLLM, so a row that the processor leaves alone
gets the token stock vLLM would have given it.

Two implementations of filter, processor and draw:

    FusedTopKTopPSampler    on a CPU, and on CUDA where it is asked for (esamp/draw/backend.py): one pass over the logits gives the tokens
                            and all that is recorded of them
    TorchTopKTopPSampler    elsewhere, and where vLLM's settings ask for another noise or for the logits themselves: vLLM's own draw

Legend: B batch rows, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from vllm.platforms import CpuArchEnum, current_platform
from vllm.v1.outputs import SamplerOutput
from vllm.v1.sample.logits_processor import BUILTIN_LOGITS_PROCESSORS, LogitsProcessor
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.sample.ops.topk_topp_sampler import HAS_TRITON, TopKTopPSampler, apply_top_k_top_p
from vllm.v1.sample.sampler import Sampler

from esamp.batch import GREEDY_TEMPERATURE, Draw
from esamp.draw.inputs import AdjustedLogits, DistillerLogits, DrawInputs, DrawnTokens, FusedDraw, Inversion
from esamp.draw.noise import draw_seeds
from esamp.draw.top_p import SortedFilter
from esamp.engine.request_checks import RequestChecks
from esamp.engine.surface import PROCESSED_LOGPROBS_MODES, PROCESSOR_ACTIVITY
from esamp.fusion.logit_adjustment import DenseAdjustment, FilteredLogitsProcessor
from esamp.joint.inverse_cdf import draw_at, top_probability
from esamp.joint.row_draw import RowDraw
from esamp.kept_tokens import KeptTokens, kept_tokens

OTHER_NOISE = (CpuArchEnum.RISCV, CpuArchEnum.POWERPC)
"""CPUs on which vLLM does not draw by the op whose noise esamp/draw has."""


class TorchTopKTopPSampler(nn.Module):
    """vLLM's TopKTopPSampler, which filters and draws, with the processor in between."""

    def __init__(self, base: TopKTopPSampler) -> None:
        super().__init__()
        self.base = base
        self.processor: FilteredLogitsProcessor | None = None
        self.row_draw: RowDraw | None = None
        self.temperature_B: Tensor | None = None
        self.keeps_logits = False
        self.draws_twice = False
        """Draw once without the processor, from the same random numbers, to see which tokens it changes."""
        self.drawn_logits_BV: Tensor | None = None
        """What the latest draw was made from, if `keeps_logits`."""
        self.stock_tokens_B: Tensor | None = None
        """[B] what would have been drawn without the processor, if `draws_twice`."""
        self.records_rollout = False
        """Keep `kept`, and the logits before the processor in `filtered_logits_BV`."""
        self.filtered_logits_BV: Tensor | None = None
        self.kept: KeptTokens | None = None

    def forward(
        self, logits: Tensor, generators: dict[int, torch.Generator], k: Tensor | None, p: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Token ids [B] and, for processed log-probability modes, the logits or log-probabilities drawn from."""
        if self.processor is None and self.row_draw is None and not self.keeps_logits:
            return self.base(logits, generators, k, p)
        logits = apply_top_k_top_p(logits, k, p)
        if self.records_rollout and self.temperature_B is not None:
            self.kept = kept_tokens(logits, self.temperature_B < GREEDY_TEMPERATURE)
            # Processors and vLLM's draw may work in place.
            self.filtered_logits_BV = logits.clone()
        if self.processor is not None:
            assert self.temperature_B is not None, "a processor was set for a batch that is all greedy"
            if self.draws_twice:
                with random_numbers_kept(logits.device, generators):
                    self.stock_tokens_B = self.base(logits.clone(), generators, None, None)[0]
            logits = self.processor(logits, self.temperature_B)
        if self.keeps_logits:
            self.drawn_logits_BV = logits
        if self.row_draw is None:
            return self.base(logits, generators, None, None)
        return self._draw_rows(self.row_draw, logits, generators)

    def _draw_rows(
        self, row_draw: RowDraw, logits_BV: Tensor, generators: dict[int, torch.Generator]
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens as `forward` gives them, those of `row_draw` drawn by it."""
        rows = row_draw.rows
        logits_RV = logits_BV[rows]
        uniforms = row_draw.uniforms(partial(top_probability, logits_RV))
        drawn = draw_at(logits_RV, uniforms.uniform_R, uniforms.fill_R)
        row_draw.drawn(drawn.tokens_R, drawn.remainder_R)
        if len(rows) == len(logits_BV) and self.base.logprobs_mode not in PROCESSED_LOGPROBS_MODES:
            # All rows, in ascending order: the engine's own draw is not needed.
            return drawn.tokens_R, None
        # Copied: the engine's draw may change its logits.
        tokens_B, returned = self.base(logits_BV.clone() if self.keeps_logits else logits_BV, generators, None, None)
        return tokens_B.index_copy(0, rows, drawn.tokens_R.to(tokens_B.dtype)), returned


@contextmanager
def random_numbers_kept(device: torch.device, generators: dict[int, torch.Generator]) -> Iterator[None]:
    """Restore the state of all generators afterwards, so that the next draw repeats the random numbers used inside."""
    states = {row: generator.get_state() for row, generator in generators.items()}
    with torch.random.fork_rng([device.index] if device.type == "cuda" else [], device_type=device.type):
        yield
    for row, generator in generators.items():
        generator.set_state(states[row])


class FusedTopKTopPSampler(nn.Module):
    """The same by a fused draw, with the noise of vLLM's op on a CPU, and everything that is recorded in one pass over the logits."""

    def __init__(self, draw: FusedDraw) -> None:
        super().__init__()
        self.draw = draw
        self.processor: FilteredLogitsProcessor | None = None
        self.row_draw: RowDraw | None = None
        self.temperature_B: Tensor | None = None
        self.plain_BV: Tensor | None = None
        """[B, V] the plain model's logits, bf16 or fp32; None if nobody asked for its log-probabilities."""
        self.is_recording = False
        self.records_rollout = False
        """Ask for the log-probability without the processor, and keep `kept`."""
        self.is_masked = False
        """A grammar forbids tokens of some row, which the settings of the batch do not say."""
        self.drawn: DrawnTokens | None = None
        """Of the latest step; None if no token was drawn, because the whole batch is greedy."""
        self.kept: KeptTokens | None = None
        """Of the latest step; None if nothing was filtered."""
        self._workspace = Workspace()
        self._sorted_filter = SortedFilter(apply_top_k_top_p)

    def forward(
        self, logits: Tensor, generators: dict[int, torch.Generator], k: Tensor | None, p: Tensor | None
    ) -> tuple[Tensor, None]:
        """Token ids [B] from logits that are divided by the temperature. vLLM replaces those of greedy rows."""
        assert self.temperature_B is not None, "vLLM draws no token of a batch that is all greedy"
        # Where Triton is installed vLLM filters in another way, which keeps another set.
        if p is not None and not HAS_TRITON and logits.device.type == "cpu" and logits.dtype == torch.float32:
            logits = self._sorted_filter(logits, k, p)
        else:
            logits = apply_top_k_top_p(logits, k, p)
        if self.records_rollout:
            self.kept = kept_tokens(logits, self.temperature_B < GREEDY_TEMPERATURE)
        return self._draw(logits, generators, temperature_B=self.temperature_B, is_divided=True), None

    def draw_unfiltered(self, logits_BV: Tensor, generators: dict[int, torch.Generator]) -> Tensor:
        """Token ids [B] from the model's logits as they are, where nothing stands between them and the draw but temperature and
        Distiller. `can_draw_unfiltered` must be True. The logits are not changed."""
        is_all_greedy = self.temperature_B is None
        temperature_B = (
            logits_BV.new_zeros(len(logits_BV), dtype=torch.float32)
            if self.temperature_B is None
            else self.temperature_B
        )
        if self.records_rollout and self.is_masked:
            self.kept = kept_tokens(logits_BV, temperature_B < GREEDY_TEMPERATURE)
        return self._draw(
            logits_BV, generators, temperature_B=temperature_B, is_divided=False, is_all_greedy=is_all_greedy
        )

    @property
    def can_draw_unfiltered(self) -> bool:
        """True if the fused draw can do itself what the processor does."""
        return self.processor is None or (isinstance(self.processor, DenseAdjustment) and self.processor.is_proposed)

    def _draw(
        self,
        logits_BV: Tensor,
        generators: dict[int, torch.Generator],
        *,
        temperature_B: Tensor,
        is_divided: bool,
        is_all_greedy: bool = False,
    ) -> Tensor:
        # vLLM draws for greedy rows as well, and drops what it drew: their seeds are spent. Not so if the whole batch is greedy.
        size, device = len(logits_BV), logits_BV.device
        seeds_B = (
            torch.zeros(size, dtype=torch.long, device=device)
            if is_all_greedy
            else draw_seeds(size, generators, device)
        )
        is_greedy_B = temperature_B < GREEDY_TEMPERATURE
        divisor_B = torch.where(is_greedy_B, 1.0, temperature_B)
        adjustment: DistillerLogits | AdjustedLogits | None = None
        if isinstance(self.processor, DenseAdjustment) and self.processor.is_proposed:
            adjustment = self.processor.distiller_logits(size, divisor_B)
        elif self.processor is not None and self.is_recording and self.plain_BV is not None:
            adjusted_BV = self.processor(self._workspace.copy(logits_BV), divisor_B)
            adjustment = AdjustedLogits(adjusted_BV, torch.arange(size, device=device))
        elif self.processor is not None:
            logits_BV = self.processor(logits_BV, divisor_B)
        inversion = None
        if self.row_draw is not None:
            inversion = self._inversion(self.row_draw, logits_BV, None if is_divided else divisor_B)
        self.drawn = self.draw(
            DrawInputs(
                logits_BV=logits_BV,
                seeds_B=seeds_B,
                temperature_B=None if is_divided else divisor_B,
                is_greedy_B=is_greedy_B,
                adjustment=adjustment,
                inversion=inversion,
                plain_BV=self.plain_BV,
                wants_unadjusted=adjustment is not None and self.is_recording and self.plain_BV is not None,
                wants_logprobs=self.is_recording,
                wants_unadjusted_logprobs=adjustment is not None and self.records_rollout,
            )
        )
        if self.row_draw is not None:
            assert self.drawn.remainder_B is not None
            rows = self.row_draw.rows
            self.row_draw.drawn(self.drawn.tokens_B[rows], self.drawn.remainder_B[rows])
        return self.drawn.tokens_B

    def _inversion(self, row_draw: RowDraw, logits_BV: Tensor, divisor_B: Tensor | None) -> Inversion:
        """The numbers of `row_draw` as the fused draw takes them. `divisor_B` [B]: what the logits are yet to be divided by."""
        rows, size, device = row_draw.rows, len(logits_BV), logits_BV.device

        def top_probability_R() -> Tensor:
            logits_RV = logits_BV[rows].float()
            return top_probability(logits_RV if divisor_B is None else logits_RV / divisor_B[rows].unsqueeze(1))

        uniforms = row_draw.uniforms(top_probability_R)
        return Inversion(
            torch.full((size,), torch.nan, dtype=torch.float64, device=device).index_copy(0, rows, uniforms.uniform_R),
            torch.zeros(size, dtype=torch.float64, device=device).index_copy(0, rows, uniforms.fill_R),
        )


class Workspace:
    """Memory for a copy of one step's logits, kept from step to step: a fresh block of this size costs more page faults than the copy."""

    def __init__(self) -> None:
        self._buffer = torch.empty(0)

    def copy(self, logits_BV: Tensor) -> Tensor:
        """A copy in fp32, valid until the next."""
        if self._buffer.numel() < logits_BV.numel() or self._buffer.device != logits_BV.device:
            self._buffer = torch.empty(logits_BV.numel(), device=logits_BV.device)
        return self._buffer[: logits_BV.numel()].view(logits_BV.shape).copy_(logits_BV)


class ESampSampler(Sampler):
    """Drop-in for vLLM's V1 sampler. Call `prepare` before a step; read `draw` and `tokens_B` after it."""

    def __init__(self, stock: Sampler, fused: FusedDraw | None = None) -> None:
        """Takes over the settings of the sampler it replaces. `fused` draws, if it is given and vLLM's settings ask for nothing that it
        cannot do."""
        super().__init__(stock.logprobs_mode, stock.use_fp64_gumbel)
        self.torch_sampler = TorchTopKTopPSampler(TopKTopPSampler(stock.logprobs_mode, stock.use_fp64_gumbel))
        self.fused_sampler = FusedTopKTopPSampler(fused) if fused is not None and can_be_fused(stock) else None
        self.topk_topp_sampler = self.fused_sampler or self.torch_sampler
        self.is_recording = False
        self.records_rollout = False
        self.sees_plain_model = True
        """The logits of the coming step are the plain model's, so that its log-probabilities can be recorded."""
        self.draw: Draw | None = None
        self.tokens_B: Tensor | None = None
        """Tokens of the latest step."""
        self.unfused_steps = 0
        """Steps so far that vLLM's own draw has made, in several passes over the logits."""
        self._processor: FilteredLogitsProcessor | None = None
        self._row_draw: RowDraw | None = None
        self._unmasked_BV: Tensor | None = None
        self._workspace = Workspace()

    def prepare(
        self,
        processor: FilteredLogitsProcessor | None,
        *,
        is_recording: bool,
        sees_plain_model: bool,
        row_draw: RowDraw | None = None,
        records_rollout: bool = False,
        unmasked_BV: Tensor | None = None,
    ) -> None:
        """Set what the coming step does to the logits, which rows it draws elsewhere, and what to record of its tokens. `unmasked_BV`: the
        model's logits before a grammar masks them; None if none does."""
        self._processor = processor
        self._row_draw = row_draw
        self._unmasked_BV = unmasked_BV
        self.is_recording = is_recording
        self.records_rollout = records_rollout
        self.sees_plain_model = sees_plain_model
        self.draw = None

    def forward(self, logits: Tensor, sampling_metadata: SamplingMetadata, *args, **kwargs):  # type: ignore[no-untyped-def]
        """As vLLM's; leaves the tokens in `tokens_B` and, if `is_recording`, what is known of them in `draw`."""
        if self.fused_sampler is None:
            output = self._forward_torch(logits, sampling_metadata, *args, **kwargs)
        else:
            output = self._forward_fused(self.fused_sampler, logits, sampling_metadata, *args, **kwargs)
        if self.draw is not None and self._processor is None and self.sees_plain_model:
            # Nothing stands between filters and draw: what was drawn from is the sampling policy itself.
            self.draw = replace(self.draw, sampling_logprobs_B=self.draw.behaviour_logprobs_B)
        self._processor = self._row_draw = self._unmasked_BV = None
        self.tokens_B = output.sampled_token_ids.squeeze(1)
        return output

    def _forward_torch(self, logits: Tensor, metadata: SamplingMetadata, *args, **kwargs):  # type: ignore[no-untyped-def]
        sampler = self.topk_topp_sampler = self.torch_sampler
        wants_plain = self.is_recording and self.sees_plain_model
        # vLLM scales fp32 logits in place, so the plain model's must be kept first.
        plain_BV = (logits if self._unmasked_BV is None else self._unmasked_BV).float().clone() if wants_plain else None
        sampler.processor, sampler.row_draw, sampler.temperature_B = (
            self._processor,
            self._row_draw,
            metadata.temperature,
        )
        sampler.keeps_logits, sampler.draws_twice = self.is_recording, wants_plain
        sampler.records_rollout, sampler.kept, sampler.filtered_logits_BV = self.records_rollout, None, None
        output = super().forward(logits, metadata, *args, **kwargs)
        if self.is_recording:
            self.draw = self._describe(output.sampled_token_ids.long(), plain_BV, metadata)
        sampler.row_draw = sampler.processor = sampler.drawn_logits_BV = sampler.stock_tokens_B = None
        sampler.kept = sampler.filtered_logits_BV = None
        self.unfused_steps += 1
        return output

    def _forward_fused(  # type: ignore[no-untyped-def]
        self, sampler: FusedTopKTopPSampler, logits: Tensor, metadata: SamplingMetadata, *args, **kwargs
    ):
        self.topk_topp_sampler = sampler
        wants_plain = self.is_recording and self.sees_plain_model
        sampler.processor, sampler.row_draw, sampler.temperature_B = (
            self._processor,
            self._row_draw,
            metadata.temperature,
        )
        sampler.is_recording, sampler.drawn = self.is_recording, None
        sampler.records_rollout, sampler.kept = self.records_rollout, None
        sampler.is_masked = self._unmasked_BV is not None
        plain_BV = logits if self._unmasked_BV is None else self._unmasked_BV
        if sampler.can_draw_unfiltered and is_unfiltered_batch(metadata):
            sampler.plain_BV = plain_BV if wants_plain else None
            tokens_B = sampler.draw_unfiltered(logits, metadata.generators)
            output = SamplerOutput(sampled_token_ids=tokens_B.to(torch.int32).unsqueeze(-1), logprobs_tensors=None)
        else:
            if wants_plain:
                # vLLM works on a copy, except of fp32 logits, which it changes in place.
                sampler.plain_BV = self._workspace.copy(plain_BV) if logits.dtype == torch.float32 else plain_BV
            output = super().forward(logits, metadata, *args, **kwargs)
        if self.is_recording:
            self.draw = (
                self._describe(output.sampled_token_ids.long(), sampler.plain_BV, metadata)
                if sampler.drawn is None
                else described(sampler.drawn, sampler.kept)
            )
        sampler.processor = sampler.row_draw = sampler.plain_BV = sampler.drawn = None
        return output

    def _describe(self, tokens_B1: Tensor, plain_BV: Tensor | None, metadata: SamplingMetadata) -> Draw:
        size, device = len(tokens_B1), tokens_B1.device
        is_greedy_B = torch.ones(size, dtype=torch.bool, device=device)
        behaviour_B = torch.zeros(size, device=device)
        num_candidates_B = torch.ones(size, device=device)
        if metadata.temperature is not None and self.torch_sampler.drawn_logits_BV is not None:
            is_greedy_B = metadata.temperature < GREEDY_TEMPERATURE
            drawn_from_BV = self.torch_sampler.drawn_logits_BV
            behaviour_B = torch.where(is_greedy_B, 0.0, logprobs_of(tokens_B1, drawn_from_BV))
            num_candidates_B = torch.where(is_greedy_B, 1.0, (drawn_from_BV > -torch.inf).sum(-1).float())
        stock_B, filtered_BV = self.torch_sampler.stock_tokens_B, self.torch_sampler.filtered_logits_BV
        return Draw(
            behaviour_logprobs_B=behaviour_B,
            policy_logprobs_B=torch.full_like(behaviour_B, torch.nan)
            if plain_BV is None
            else logprobs_of(tokens_B1, plain_BV),
            num_candidates_B=num_candidates_B,
            is_flipped_B=~is_greedy_B & (stock_B != tokens_B1.squeeze(1))
            if stock_B is not None
            else torch.zeros_like(is_greedy_B),
            sampling_logprobs_B=None
            if plain_BV is None or filtered_BV is None
            else torch.where(is_greedy_B, 0.0, logprobs_of(tokens_B1, filtered_BV)),
            kept=self.torch_sampler.kept,
        )


def described(drawn: DrawnTokens, kept: KeptTokens | None) -> Draw:
    """What the fused draw has measured, as it is recorded."""
    assert drawn.logprobs_B is not None and drawn.num_candidates_B is not None
    return Draw(
        behaviour_logprobs_B=drawn.logprobs_B,
        policy_logprobs_B=torch.full_like(drawn.logprobs_B, torch.nan)
        if drawn.plain_logprobs_B is None
        else drawn.plain_logprobs_B,
        num_candidates_B=drawn.num_candidates_B.float(),
        is_flipped_B=torch.zeros_like(drawn.tokens_B, dtype=torch.bool)
        if drawn.unadjusted_tokens_B is None
        else drawn.unadjusted_tokens_B != drawn.tokens_B,
        sampling_logprobs_B=drawn.unadjusted_logprobs_B,
        kept=kept,
    )


def can_be_fused(stock: Sampler) -> bool:
    """False if this sampler must take its noise from torch in fp64, or hand out the logits that were drawn from; and on two kinds of CPUs,
    where vLLM has another noise."""
    return (
        not (current_platform.is_cpu() and current_platform.get_cpu_architecture() in OTHER_NOISE)
        and not stock.use_fp64_gumbel
        and stock.logprobs_mode not in PROCESSED_LOGPROBS_MODES
    )


def is_unfiltered_batch(metadata: SamplingMetadata) -> bool:
    """True if vLLM would do nothing to the logits of this batch but divide them by the temperature, and hand out none."""
    holder = metadata.thinking_budget_state_holder
    return (
        metadata.top_k is None
        and metadata.top_p is None
        and metadata.no_penalties
        and metadata.allowed_token_ids_mask is None
        and not metadata.bad_words_token_ids
        and metadata.max_num_logprobs is None
        and not metadata.logprob_token_ids
        and not (holder is not None and holder.has_tracked_requests())
        and all(is_idle(processor) for processor in metadata.logitsprocs.all)
    )


def is_idle(processor: LogitsProcessor) -> bool:
    """True if no request of the batch uses this processor; of processors that are neither vLLM's own nor ours nobody can tell."""
    if type(processor) is RequestChecks:
        return True
    activity = PROCESSOR_ACTIVITY.get(type(processor).__name__)
    return type(processor) in BUILTIN_LOGITS_PROCESSORS and activity is not None and not getattr(processor, activity)


def logprobs_of(tokens_B1: Tensor, logits_BV: Tensor) -> Tensor:
    """Log-probability [B] of each row's token."""
    return logits_BV.gather(1, tokens_B1).squeeze(1) - logits_BV.logsumexp(-1)
