"""What a draw is made from and what it tells.

Legend: B batch rows, R adjusted rows, V vocabulary.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class DistillerLogits:
    """The proposed fusion (arXiv:2604.24927, Eq. 9), made while drawing: z + beta (z - z_dist)."""

    z_dist_RV: Tensor
    """[R, V] the Distiller's logits, bf16 or fp32."""
    row_B: Tensor
    """[B] int64: the row of `z_dist_RV` for each batch row; -1 where the row is not adjusted."""
    beta_B: Tensor
    """[B] fp32; anything where the row is not adjusted."""
    temperature_B: Tensor | None
    """[B] fp32: the Distiller's logits are divided by it; None if they are already."""


@dataclass(frozen=True, slots=True, eq=False)
class AdjustedLogits:
    """Logits that have been adjusted already, by whatever policy."""

    z_RV: Tensor
    """[R, V] bf16 or fp32, -inf where filtered out."""
    row_B: Tensor
    """[B] int64: the row of `z_RV` for each batch row; -1 where the row is not adjusted."""


@dataclass(frozen=True, slots=True, eq=False)
class Inversion:
    """Rows that are drawn by inverting their distribution function instead of by noise: see esamp/joint/inverse_cdf.py."""

    uniform_B: Tensor
    """[B] float64 in [0, 1): the row's token is F^-1 of it; NaN: drawn by noise."""
    fill_B: Tensor
    """[B] float64 in [0, 1): fresh random bits below the last one of `uniform_B`."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DrawInputs:
    """One step's draw. All tensors are on one device."""

    logits_BV: Tensor
    """[B, V] bf16 or fp32, -inf where filtered out. Not changed."""
    seeds_B: Tensor
    """[B] int64, one per row: see noise.py."""
    temperature_B: Tensor | None = None
    """[B] fp32: the logits are divided by it; None if they are already. 1 for greedy rows."""
    is_greedy_B: Tensor | None = None
    """[B] bool: rows that take the most likely token, the first of equals. None if there are none."""
    adjustment: DistillerLogits | AdjustedLogits | None = None
    inversion: Inversion | None = None
    """Rows that are drawn at given numbers; greedy ones are not. None: no row is."""
    plain_BV: Tensor | None = None
    """[B, V] the model's logits before temperature, masks and filters, bf16 or fp32: `plain_logprobs_B` is taken under them. May be
    `logits_BV` itself, where there are no masks or filters. None: not asked for."""
    wants_unadjusted: bool = False
    """Ask for `unadjusted_tokens_B`."""
    wants_logprobs: bool = False
    """Ask for `logprobs_B` and `num_candidates_B`."""
    wants_unadjusted_logprobs: bool = False
    """Ask for `unadjusted_logprobs_B`; only together with `wants_logprobs`."""


@dataclass(frozen=True, slots=True, eq=False)
class DrawnTokens:
    """The result, [B] each; None where it was not asked for."""

    tokens_B: Tensor
    """int64"""
    unadjusted_tokens_B: Tensor | None
    """int64: what the same random numbers draw without the adjustment."""
    logprobs_B: Tensor | None
    """fp32: log-probability of `tokens_B` under the distribution they were drawn from; 0 for greedy rows."""
    plain_logprobs_B: Tensor | None
    """fp32: log-probability of `tokens_B` under `plain_BV`."""
    num_candidates_B: Tensor | None
    """int64: tokens that could have been drawn; 1 for greedy rows."""
    unadjusted_logprobs_B: Tensor | None = None
    """fp32: log-probability of `tokens_B` under the distribution they would have been drawn from without the adjustment: the same
    temperature and the same kept tokens. 0 for greedy rows."""
    remainder_B: Tensor | None = None
    """float64 in [0, 1): what is left of `uniform_B` for the next token; NaN where the noise drew."""


class FusedDraw(Protocol):
    """Draws one token per row. A row without any candidate gets token 0, as in vLLM; a NaN logit is never drawn."""

    def __call__(self, inputs: DrawInputs) -> DrawnTokens:
        """The tokens, and what was asked for."""
        ...
