"""The fused draw for CUDA in Triton, one program per batch row. Equal to reference.py by the tests marked gpu; untested on a GPU so far.

Scores are made in fp64, as on a CPU: in fp32 the noise has 24 bits, and of a vocabulary of 152k tokens several would share the largest.

Legend: B batch rows, R adjusted rows, V vocabulary.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from esamp.draw.inputs import DistillerLogits, DrawInputs, DrawnTokens

BLOCK = 2048
"""Tokens per turn of a program's loop."""
NUM_WARPS = 8


@triton.jit
def _mix(x):  # type: ignore[no-untyped-def]
    """SplitMix64's finaliser on uint64."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@triton.jit
def _add_exponentials(peak, total, z):  # type: ignore[no-untyped-def]
    """A sum of exponentials, kept relative to its largest logit, with a block more. Nothing is added by a block that is all -inf."""
    new_peak = tl.maximum(peak, tl.max(z, axis=0))
    reference = tl.where(new_peak == float("-inf"), 0.0, new_peak)
    total = total * tl.exp(peak - reference) + tl.sum(tl.exp(z - reference).to(tl.float64), axis=0)
    return new_peak, total


@triton.jit
def _best_of(score, token, best_score, best_token, vocabulary):  # type: ignore[no-untyped-def]
    """The better of the best so far and the best of a block; the first of equals."""
    peak = tl.max(score, axis=0)
    first = tl.min(tl.where(score == peak, token, vocabulary), axis=0)
    is_better = peak > best_score
    return tl.where(is_better, peak, best_score), tl.where(is_better, first, best_token)


@triton.jit
def _draw_row(  # type: ignore[no-untyped-def]
    logits,
    logits_stride,
    plain,
    plain_stride,
    other,
    other_stride,
    other_row,
    temperature,
    other_temperature,
    beta,
    seeds,
    is_greedy,
    tokens,
    unadjusted_tokens,
    logprobs,
    plain_logprobs,
    num_candidates,
    unadjusted_logprobs,
    vocabulary,
    HAS_PLAIN: tl.constexpr,
    HAS_OTHER: tl.constexpr,
    IS_PROPOSED: tl.constexpr,
    HAS_TEMPERATURE: tl.constexpr,
    HAS_OTHER_TEMPERATURE: tl.constexpr,
    HAS_GREEDY: tl.constexpr,
    SUMS_UNADJUSTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    greedy = False
    if HAS_GREEDY:
        greedy = tl.load(is_greedy + row) != 0
    divisor = 1.0
    if HAS_TEMPERATURE:
        divisor = tl.load(temperature + row)
    adjusted_row = tl.full((), -1, tl.int64)
    strength = 0.0
    other_divisor = 1.0
    if HAS_OTHER:
        adjusted_row = tl.load(other_row + row)
        if IS_PROPOSED:
            strength = tl.load(beta + row)
            if HAS_OTHER_TEMPERATURE:
                other_divisor = tl.load(other_temperature + row)
    is_adjusted = adjusted_row >= 0
    adjusted_width = tl.where(is_adjusted, vocabulary, 0)
    stream = _mix(tl.load(seeds + row).to(tl.uint64))

    best_score = tl.full((), float("-inf"), tl.float64)
    plain_best_score = tl.full((), float("-inf"), tl.float64)
    best_token = tl.full((), 0, tl.int64)
    unadjusted_token = tl.full((), 0, tl.int64)
    count = tl.full((), 0, tl.int64)
    peak = tl.full((), float("-inf"), tl.float32)
    total = tl.full((), 0.0, tl.float64)
    plain_peak = tl.full((), float("-inf"), tl.float32)
    plain_total = tl.full((), 0.0, tl.float64)
    unadjusted_peak = tl.full((), float("-inf"), tl.float32)
    unadjusted_total = tl.full((), 0.0, tl.float64)

    for first in range(0, vocabulary, BLOCK):
        token = first + tl.arange(0, BLOCK).to(tl.int64)
        inside = token < vocabulary
        z = tl.load(logits + row * logits_stride + token, mask=inside, other=float("-inf")).to(tl.float32)
        if HAS_TEMPERATURE:
            z = tl.div_rn(z, divisor + tl.zeros_like(z))
        a = z
        if HAS_OTHER:
            y = tl.load(
                other + adjusted_row * other_stride + token, mask=token < adjusted_width, other=float("-inf")
            ).to(tl.float32)
            if IS_PROPOSED:
                if HAS_OTHER_TEMPERATURE:
                    y = tl.div_rn(y, other_divisor + tl.zeros_like(y))
                y = tl.where(z == float("-inf"), z, z + strength * (z - y))
            a = tl.where(is_adjusted, y, z)
        hashes = _mix(stream + (token + 1).to(tl.uint64) * 0x9E3779B97F4A7C15)
        noise = -tl.log(-tl.log(((hashes >> 11).to(tl.float64) + 0.5) * 1.1102230246251565e-16))
        noise = tl.where(greedy, 0.0, noise)
        score = tl.where(a == a, a.to(tl.float64) + noise, float("-inf"))
        best_score, best_token = _best_of(score, token, best_score, best_token, vocabulary)
        if HAS_OTHER:
            plain_score = tl.where(z == z, z.to(tl.float64) + noise, float("-inf"))
            plain_best_score, unadjusted_token = _best_of(
                plain_score, token, plain_best_score, unadjusted_token, vocabulary
            )
        peak, total = _add_exponentials(peak, total, a)
        if SUMS_UNADJUSTED:
            unadjusted_peak, unadjusted_total = _add_exponentials(unadjusted_peak, unadjusted_total, z)
        count += tl.sum((a > float("-inf")).to(tl.int64), axis=0)
        if HAS_PLAIN:
            x = tl.load(plain + row * plain_stride + token, mask=inside, other=float("-inf")).to(tl.float32)
            plain_peak, plain_total = _add_exponentials(plain_peak, plain_total, x)

    tl.store(tokens + row, best_token)
    if HAS_OTHER:
        tl.store(unadjusted_tokens + row, tl.where(greedy, best_token, unadjusted_token))
    else:
        tl.store(unadjusted_tokens + row, best_token)
    chosen = tl.load(logits + row * logits_stride + best_token).to(tl.float32)
    if HAS_TEMPERATURE:
        chosen = tl.div_rn(chosen, divisor)
    unadjusted_chosen = chosen
    if HAS_OTHER:
        y = tl.load(other + adjusted_row * other_stride + best_token, mask=is_adjusted, other=0.0).to(tl.float32)
        if IS_PROPOSED:
            if HAS_OTHER_TEMPERATURE:
                y = tl.div_rn(y, other_divisor)
            y = chosen + strength * (chosen - y)
        chosen = tl.where(is_adjusted, y, chosen)
    logprob = (chosen.to(tl.float64) - (tl.log(total) + peak)).to(tl.float32)
    tl.store(logprobs + row, tl.where(greedy, 0.0, logprob))
    if SUMS_UNADJUSTED:
        logprob = (unadjusted_chosen.to(tl.float64) - (tl.log(unadjusted_total) + unadjusted_peak)).to(tl.float32)
    tl.store(unadjusted_logprobs + row, tl.where(greedy, 0.0, logprob))
    tl.store(num_candidates + row, tl.where(greedy, 1, count))
    if HAS_PLAIN:
        x = tl.load(plain + row * plain_stride + best_token).to(tl.float32)
        tl.store(plain_logprobs + row, (x.to(tl.float64) - (tl.log(plain_total) + plain_peak)).to(tl.float32))


class TritonDraw:
    """A FusedDraw on CUDA. Everything is measured in the one pass, which waits for memory; what was not asked for is left out of the
    result."""

    def __call__(self, inputs: DrawInputs) -> DrawnTokens:
        """See FusedDraw."""
        size, vocabulary = inputs.logits_BV.shape
        device = inputs.logits_BV.device
        tokens_B, unadjusted_B, num_candidates_B = torch.empty(3, size, dtype=torch.long, device=device)
        logprobs_B, plain_logprobs_B, unadjusted_logprobs_B = torch.empty(3, size, device=device)
        logits_BV = rows_in_one_piece(inputs.logits_BV)
        plain_BV = logits_BV if inputs.plain_BV is None else rows_in_one_piece(inputs.plain_BV)
        adjustment = inputs.adjustment
        is_proposed = isinstance(adjustment, DistillerLogits)
        other_RV, row_B, beta_B, other_temperature_B = logits_BV, inputs.seeds_B, logprobs_B, None
        if isinstance(adjustment, DistillerLogits):
            other_RV, row_B = rows_in_one_piece(adjustment.z_dist_RV), adjustment.row_B
            beta_B, other_temperature_B = adjustment.beta_B, adjustment.temperature_B
        elif adjustment is not None:
            other_RV, row_B = rows_in_one_piece(adjustment.z_RV), adjustment.row_B
        if size > 0:
            # Tensors that a flag below leaves out are never read: any of the right kind may stand for them.
            _draw_row[(size,)](
                logits_BV,
                logits_BV.stride(0),
                plain_BV,
                plain_BV.stride(0),
                other_RV,
                other_RV.stride(0),
                row_B,
                logprobs_B if inputs.temperature_B is None else inputs.temperature_B,
                logprobs_B if other_temperature_B is None else other_temperature_B,
                beta_B,
                inputs.seeds_B,
                inputs.seeds_B if inputs.is_greedy_B is None else inputs.is_greedy_B.to(torch.uint8),
                tokens_B,
                unadjusted_B,
                logprobs_B,
                plain_logprobs_B,
                num_candidates_B,
                unadjusted_logprobs_B,
                vocabulary,
                HAS_PLAIN=inputs.plain_BV is not None,
                HAS_OTHER=adjustment is not None,
                IS_PROPOSED=is_proposed,
                HAS_TEMPERATURE=inputs.temperature_B is not None,
                HAS_OTHER_TEMPERATURE=other_temperature_B is not None,
                HAS_GREEDY=inputs.is_greedy_B is not None,
                SUMS_UNADJUSTED=adjustment is not None and inputs.wants_unadjusted_logprobs,
                BLOCK=BLOCK,
                num_warps=NUM_WARPS,
                # z + beta (z - z_dist) must be rounded as torch rounds it, not contracted to a multiply-add.
                enable_fp_fusion=False,
            )
        return DrawnTokens(
            tokens_B=tokens_B,
            unadjusted_tokens_B=unadjusted_B if inputs.wants_unadjusted else None,
            logprobs_B=logprobs_B if inputs.wants_logprobs else None,
            plain_logprobs_B=None if inputs.plain_BV is None else plain_logprobs_B,
            num_candidates_B=num_candidates_B if inputs.wants_logprobs else None,
            unadjusted_logprobs_B=unadjusted_logprobs_B if inputs.wants_unadjusted_logprobs else None,
        )


def rows_in_one_piece(z_RV: Tensor) -> Tensor:
    """The logits as the kernel reads them. Rarely a copy."""
    return z_RV if z_RV.stride(1) == 1 else z_RV.contiguous()
