"""Batches to draw from, with everything that a real one may hold. Legend: B batch rows, R adjusted rows, V vocabulary."""

import torch
from torch import Tensor

from esamp.draw.inputs import AdjustedLogits, DistillerLogits, DrawInputs, DrawnTokens


def peaked_logits(num_rows: int, vocabulary: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Logits [B, V] of which some ten tokens per row carry most of the probability, as a language model's."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(num_rows, vocabulary, generator=generator) * 3).to(dtype)


def seeds(num_rows: int, *, seed: int = 0) -> Tensor:
    return torch.randint(0, 2**31, (num_rows,), generator=torch.Generator().manual_seed(seed))


def filtered(logits_BV: Tensor, *, top_k: int) -> Tensor:
    """-inf but for each row's `top_k` largest."""
    kept_BK = logits_BV.topk(top_k, dim=-1)
    return torch.full_like(logits_BV, -torch.inf).scatter_(1, kept_BK.indices, kept_BK.values)


def mixed_inputs(
    num_rows: int, vocabulary: int, *, dtype: torch.dtype, top_k: int | None, is_given: bool, seed: int = 0
) -> DrawInputs:
    """A batch in which every third row is not adjusted, every fifth is greedy, temperatures and betas differ, and everything is asked
    for. Its policy adjusts by the Distiller's logits, or has done so already (`is_given`)."""
    plain_BV = peaked_logits(num_rows, vocabulary, seed=seed, dtype=dtype)
    row_B = torch.arange(num_rows)
    is_greedy_B = row_B % 5 == 4
    is_adjusted_B = (row_B % 3 != 2) & ~is_greedy_B
    other_row_B = torch.where(is_adjusted_B, is_adjusted_B.long().cumsum(0) - 1, -1)
    num_adjusted = max(1, int(is_adjusted_B.sum()))
    z_dist_RV = (plain_BV[is_adjusted_B].float() if is_adjusted_B.any() else plain_BV[:1].float()) + peaked_logits(
        num_adjusted, vocabulary, seed=seed + 1
    )
    temperature_B = torch.where(is_greedy_B, 1.0, torch.tensor([1.0, 0.7, 1.3, 1.0]).repeat(num_rows)[:num_rows])
    beta_B = torch.tensor([0.25, 1.0, 0.0, 0.5, 2.0, 0.25, 0.1]).repeat(num_rows)[:num_rows]
    logits_BV = plain_BV if top_k is None else filtered(plain_BV, top_k=top_k)
    if is_given:
        z_RV = logits_BV[is_adjusted_B] if is_adjusted_B.any() else logits_BV[:1]
        adjusted_RV = torch.where(torch.isneginf(z_RV), z_RV, 1.5 * z_RV.float() - 0.5 * z_dist_RV)
    return DrawInputs(
        logits_BV=logits_BV,
        seeds_B=seeds(num_rows, seed=seed),
        temperature_B=temperature_B,
        is_greedy_B=is_greedy_B,
        adjustment=AdjustedLogits(adjusted_RV, other_row_B)
        if is_given
        else DistillerLogits(z_dist_RV.to(dtype), other_row_B, beta_B, temperature_B),
        plain_BV=plain_BV,
        wants_unadjusted=True,
        wants_logprobs=True,
        wants_unadjusted_logprobs=True,
    )


def assert_equal_draws(drawn: DrawnTokens, expected: DrawnTokens) -> None:
    """The same tokens and counts, and log-probabilities that differ by rounding."""
    assert drawn.tokens_B.tolist() == expected.tokens_B.tolist()
    for name in ("unadjusted_tokens_B", "num_candidates_B"):
        first, second = getattr(drawn, name), getattr(expected, name)
        assert (first is None) == (second is None), name
        assert first is None or first.tolist() == second.tolist(), name
    for name in ("logprobs_B", "plain_logprobs_B", "unadjusted_logprobs_B"):
        first, second = getattr(drawn, name), getattr(expected, name)
        assert (first is None) == (second is None), name
        if first is not None:
            torch.testing.assert_close(first.cpu(), second.cpu(), rtol=1e-6, atol=1e-5)
