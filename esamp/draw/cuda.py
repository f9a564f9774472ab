"""The fused draw for CUDA in Triton, one program per batch row. Equal to reference.py in Triton's interpreter; untested on a GPU so far, so
that an engine which is told to use it compares the two first (backend.py).

Scores are made in fp64, as on a CPU: in fp32 the noise has 24 bits, and of a vocabulary of 152k tokens several would share the largest.

Legend: B batch rows, R adjusted rows, V vocabulary.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from esamp.draw.inputs import DistillerLogits, DrawInputs, DrawnTokens, Inversion
from esamp.joint.inverse_cdf import draw_at

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
def _tempered(logits, mask, divisor, HAS_TEMPERATURE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Logits at these addresses in fp32, divided by the temperature as vLLM divides them; -inf outside of the mask."""
    z = tl.load(logits, mask=mask, other=float("-inf")).to(tl.float32)
    if HAS_TEMPERATURE:
        z = tl.div_rn(z, divisor + tl.zeros_like(z))
    return z


@triton.jit
def _adjusted(  # type: ignore[no-untyped-def]
    z, other, mask, is_adjusted, strength, divisor, IS_PROPOSED: tl.constexpr, HAS_TEMPERATURE: tl.constexpr
):
    """What is drawn from where `z` would have been: z + strength (z - other), or the other logits as they are."""
    y = _tempered(other, mask, divisor, IS_PROPOSED and HAS_TEMPERATURE)
    if IS_PROPOSED:
        y = tl.where(z == float("-inf"), z, z + strength * (z - y))
    return tl.where(is_adjusted, y, z)


@triton.jit
def _gumbel(stream, token):  # type: ignore[no-untyped-def]
    """Standard Gumbel noise of each token in fp64: see noise.py."""
    bits = _mix(stream + (token + 1).to(tl.uint64) * 0x9E3779B97F4A7C15) >> 11
    return -tl.log(-tl.log((bits.to(tl.float64) + 0.5) * 1.1102230246251565e-16))


@triton.jit
def _store_logprob(place, is_certain, z, peak, total):  # type: ignore[no-untyped-def]
    """Write the log-probability of a token of logit `z`; 0 for one that was certain."""
    logprob = (z.to(tl.float64) - (tl.log(total) + peak)).to(tl.float32)
    tl.store(place, tl.where(is_certain, 0.0, logprob))


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
    greedy = tl.load(is_greedy + row) != 0 if HAS_GREEDY else False
    divisor = tl.load(temperature + row) if HAS_TEMPERATURE else 1.0
    adjusted_row = tl.load(other_row + row) if HAS_OTHER else tl.full((), -1, tl.int64)
    strength = tl.load(beta + row) if IS_PROPOSED else 0.0
    other_divisor = tl.load(other_temperature + row) if HAS_OTHER_TEMPERATURE else 1.0
    is_adjusted = adjusted_row >= 0
    other_width = tl.where(is_adjusted, vocabulary, 0)
    z_row, x_row, y_row = logits + row * logits_stride, plain + row * plain_stride, other + adjusted_row * other_stride
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
        z = _tempered(z_row + token, inside, divisor, HAS_TEMPERATURE)
        a = z
        if HAS_OTHER:
            a = _adjusted(
                z,
                y_row + token,
                token < other_width,
                is_adjusted,
                strength,
                other_divisor,
                IS_PROPOSED,
                HAS_OTHER_TEMPERATURE,
            )
        noise = tl.where(greedy, 0.0, _gumbel(stream, token))
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
            x = tl.load(x_row + token, mask=inside, other=float("-inf")).to(tl.float32)
            plain_peak, plain_total = _add_exponentials(plain_peak, plain_total, x)

    tl.store(tokens + row, best_token)
    tl.store(unadjusted_tokens + row, tl.where(greedy, best_token, unadjusted_token) if HAS_OTHER else best_token)
    tl.store(num_candidates + row, tl.where(greedy, 1, count))
    z = _tempered(z_row + best_token, best_token < vocabulary, divisor, HAS_TEMPERATURE)
    a = z
    if HAS_OTHER:
        a = _adjusted(
            z,
            y_row + best_token,
            best_token < other_width,
            is_adjusted,
            strength,
            other_divisor,
            IS_PROPOSED,
            HAS_OTHER_TEMPERATURE,
        )
    _store_logprob(logprobs + row, greedy, a, peak, total)
    if SUMS_UNADJUSTED:
        _store_logprob(unadjusted_logprobs + row, greedy, z, unadjusted_peak, unadjusted_total)
    else:
        _store_logprob(unadjusted_logprobs + row, greedy, a, peak, total)
    if HAS_PLAIN:
        _store_logprob(
            plain_logprobs + row, best_token < 0, tl.load(x_row + best_token).to(tl.float32), plain_peak, plain_total
        )


class TritonDraw:
    """A FusedDraw on CUDA. Everything is measured in the one pass, which waits for memory; what was not asked for is left out of the
    result. Rows that are drawn by inversion take further passes, in torch."""

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
        drawn = DrawnTokens(
            tokens_B=tokens_B,
            unadjusted_tokens_B=unadjusted_B if inputs.wants_unadjusted else None,
            logprobs_B=logprobs_B if inputs.wants_logprobs else None,
            plain_logprobs_B=None if inputs.plain_BV is None else plain_logprobs_B,
            num_candidates_B=num_candidates_B if inputs.wants_logprobs else None,
            unadjusted_logprobs_B=unadjusted_logprobs_B if inputs.wants_unadjusted_logprobs else None,
        )
        return drawn if inputs.inversion is None else with_inverted_rows(drawn, inputs, inputs.inversion)


def with_inverted_rows(drawn: DrawnTokens, inputs: DrawInputs, inversion: Inversion) -> DrawnTokens:
    """`drawn` with the tokens of `inversion`. All rows are inverted and those of it kept: to pick them the host would have to wait."""
    assert inputs.adjustment is None, "joint draws change no logits"
    z_BV = inputs.logits_BV.float()
    if inputs.temperature_B is not None:
        z_BV = z_BV / inputs.temperature_B.unsqueeze(1)
    is_inverted_B = ~torch.isnan(inversion.uniform_B)
    if inputs.is_greedy_B is not None:
        is_inverted_B = is_inverted_B & ~inputs.is_greedy_B
    at_uniform = draw_at(z_BV, inversion.uniform_B.nan_to_num(0.0), inversion.fill_B)

    def logprobs_B(z_BV: Tensor, of_noise_B: Tensor | None) -> Tensor | None:
        if of_noise_B is None:
            return None
        of_token_B = z_BV.gather(1, at_uniform.tokens_R.unsqueeze(1)).squeeze(1) - z_BV.logsumexp(-1)
        return torch.where(is_inverted_B, of_token_B, of_noise_B)

    plain_B = drawn.plain_logprobs_B
    tokens_B = torch.where(is_inverted_B, at_uniform.tokens_R, drawn.tokens_B)
    return DrawnTokens(
        tokens_B=tokens_B,
        unadjusted_tokens_B=None if drawn.unadjusted_tokens_B is None else tokens_B,
        logprobs_B=logprobs_B(z_BV, drawn.logprobs_B),
        plain_logprobs_B=plain_B if inputs.plain_BV is None else logprobs_B(inputs.plain_BV.float(), plain_B),
        num_candidates_B=drawn.num_candidates_B,
        unadjusted_logprobs_B=logprobs_B(z_BV, drawn.unadjusted_logprobs_B),
        remainder_B=torch.where(is_inverted_B, at_uniform.remainder_R, torch.nan),
    )


def rows_in_one_piece(z_RV: Tensor) -> Tensor:
    """The logits as the kernel reads them. Rarely a copy."""
    return z_RV if z_RV.stride(1) == 1 else z_RV.contiguous()
