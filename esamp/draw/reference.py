"""The fused draw in torch, row by row as it is defined: what the kernels must equal. Too slow for an engine.

Legend: B batch rows, V vocabulary, C rows of a chunk.
"""

import torch
from torch import Tensor

from esamp.draw.inputs import DistillerLogits, DrawInputs, DrawnTokens
from esamp.draw.noise import gumbel_noise
from esamp.joint.inverse_cdf import draw_at

ROWS_AT_ONCE = 16
"""Noise in fp64 takes 1.2 MB per row at a vocabulary of 151,936."""


class TorchDraw:
    """A FusedDraw on any device."""

    def __call__(self, inputs: DrawInputs) -> DrawnTokens:
        """See FusedDraw."""
        size = len(inputs.seeds_B)
        chunks = [draw_rows(inputs, slice(first, first + ROWS_AT_ONCE)) for first in range(0, size, ROWS_AT_ONCE)]
        return DrawnTokens(
            tokens_B=torch.cat([chunk.tokens_B for chunk in chunks]),
            unadjusted_tokens_B=joined([chunk.unadjusted_tokens_B for chunk in chunks]),
            logprobs_B=joined([chunk.logprobs_B for chunk in chunks]),
            plain_logprobs_B=joined([chunk.plain_logprobs_B for chunk in chunks]),
            num_candidates_B=joined([chunk.num_candidates_B for chunk in chunks]),
            unadjusted_logprobs_B=joined([chunk.unadjusted_logprobs_B for chunk in chunks]),
            remainder_B=joined([chunk.remainder_B for chunk in chunks]),
        )


def joined(parts: list[Tensor | None]) -> Tensor | None:
    """The parts of a column one after the other; None if it was not asked for."""
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None


def draw_rows(inputs: DrawInputs, rows: slice) -> DrawnTokens:
    """The same for some rows."""
    z_CV = tempered(inputs.logits_BV[rows], inputs.temperature_B, rows)
    adjusted_CV = adjusted_logits(inputs, z_CV, rows)
    noise_CV = gumbel_noise(inputs.seeds_B[rows], z_CV.shape[1])
    is_greedy_C = None if inputs.is_greedy_B is None else inputs.is_greedy_B[rows]
    tokens_C = most_likely_or(is_greedy_C, adjusted_CV, first_argmax(adjusted_CV.double() + noise_CV))
    unadjusted_C = logprobs_C = plain_C = num_candidates_C = unadjusted_logprobs_C = remainder_C = None
    if inputs.wants_unadjusted:
        unadjusted_C = most_likely_or(is_greedy_C, adjusted_CV, first_argmax(z_CV.double() + noise_CV))
    if inputs.inversion is not None:
        uniform_C = inputs.inversion.uniform_B[rows]
        is_inverted_C = ~torch.isnan(uniform_C) if is_greedy_C is None else ~torch.isnan(uniform_C) & ~is_greedy_C
        at_uniform = draw_at(adjusted_CV, uniform_C.nan_to_num(0.0), inputs.inversion.fill_B[rows])
        tokens_C = torch.where(is_inverted_C, at_uniform.tokens_R, tokens_C)
        unadjusted_C = None if unadjusted_C is None else torch.where(is_inverted_C, tokens_C, unadjusted_C)
        remainder_C = torch.where(is_inverted_C, at_uniform.remainder_R, torch.nan)
    if inputs.wants_logprobs:
        logprobs_C = logprobs_of(tokens_C, adjusted_CV)
        num_candidates_C = (adjusted_CV > -torch.inf).sum(-1)
        if is_greedy_C is not None:
            logprobs_C = torch.where(is_greedy_C, 0.0, logprobs_C)
            num_candidates_C = torch.where(is_greedy_C, 1, num_candidates_C)
    if inputs.wants_unadjusted_logprobs:
        unadjusted_logprobs_C = logprobs_of(tokens_C, z_CV)
        if is_greedy_C is not None:
            unadjusted_logprobs_C = torch.where(is_greedy_C, 0.0, unadjusted_logprobs_C)
    if inputs.plain_BV is not None:
        plain_C = logprobs_of(tokens_C, inputs.plain_BV[rows].float())
    return DrawnTokens(
        tokens_C, unadjusted_C, logprobs_C, plain_C, num_candidates_C, unadjusted_logprobs_C, remainder_C
    )


def adjusted_logits(inputs: DrawInputs, z_CV: Tensor, rows: slice) -> Tensor:
    """What is drawn from: `z_CV` with the rows that a policy adjusts in its form."""
    if inputs.adjustment is None:
        return z_CV
    row_C = inputs.adjustment.row_B[rows]
    is_adjusted_C1 = (row_C >= 0).unsqueeze(1)
    place_C = row_C.clamp(min=0)
    if isinstance(inputs.adjustment, DistillerLogits):
        z_dist_CV = tempered(inputs.adjustment.z_dist_RV[place_C], inputs.adjustment.temperature_B, rows)
        shift_CV = inputs.adjustment.beta_B[rows].unsqueeze(1) * (z_CV - z_dist_CV)
        is_adjusted_CV = is_adjusted_C1 & ~torch.isneginf(z_CV)
        return torch.where(is_adjusted_CV, z_CV + shift_CV, z_CV)
    return torch.where(is_adjusted_C1, inputs.adjustment.z_RV[place_C].float(), z_CV)


def tempered(logits_CV: Tensor, temperature_B: Tensor | None, rows: slice) -> Tensor:
    """Logits in fp32, divided by the temperature as vLLM divides them."""
    return logits_CV.float() if temperature_B is None else logits_CV.float() / temperature_B[rows].unsqueeze(1)


def first_argmax(score_CV: Tensor) -> Tensor:
    """[C] place of the largest score, the first of equals; NaN counts as -inf. torch.argmax may return any of equals."""
    score_CV = torch.where(torch.isnan(score_CV), -torch.inf, score_CV)
    is_largest_CV = score_CV == score_CV.amax(-1, keepdim=True)
    place_V = torch.arange(score_CV.shape[1], device=score_CV.device)
    return torch.where(is_largest_CV, place_V, score_CV.shape[1]).amin(-1)


def most_likely_or(is_greedy_C: Tensor | None, z_CV: Tensor, drawn_C: Tensor) -> Tensor:
    """[C] the most likely token of greedy rows; the drawn one of the others."""
    return drawn_C if is_greedy_C is None else torch.where(is_greedy_C, first_argmax(z_CV), drawn_C)


def logprobs_of(tokens_C: Tensor, z_CV: Tensor) -> Tensor:
    """[C] log-probability of each row's token."""
    return z_CV.gather(1, tokens_C.unsqueeze(1)).squeeze(1) - z_CV.logsumexp(-1)
