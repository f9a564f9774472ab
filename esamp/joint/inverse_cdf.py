"""Draws by inverting the distribution function, and what is left of u for the next token: arithmetic sampling (arXiv:2210.15458).

Tokens lie on [0, 1) in the order of the vocabulary, each on an interval as long as its probability. u picks the token whose interval holds
it; its place within that interval, stretched to [0, 1), is again uniform and independent of the token, and picks the next one.

Legend: R rows that are drawn so, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SPACING = 2.0**-53
"""Between neighbouring codes."""
BELOW_ONE = 1.0 - 2.0**-53


@dataclass(frozen=True, slots=True, eq=False)
class InverseDraw:
    """Tokens drawn at given numbers."""

    tokens_R: Tensor
    """[R] int64."""
    remainder_R: Tensor
    """[R] float64 in [0, 1): uniform and independent of the token if u was uniform."""
    logprobs_R: Tensor
    """[R] float32 log-probability of the token under the distribution it was drawn from."""


def draw_at(logits_RV: Tensor, uniform_R: Tensor, fill_R: Tensor) -> InverseDraw:
    """The token at `uniform_R` [R] float64 in [0, 1) of softmax(logits_RV), in the order of the vocabulary.

    `fill_R` [R] float64 in [0, 1): fresh random numbers. A token of probability p uses up log2(1/p) of the 53 bits of u; the stretched
    remainder takes its lowest bits from here, so that it always has 53 random bits, however long the sample.
    Logits may be -inf (filtered); a row must have one finite logit. Sums run in float64: fp32 would give tokens at the end of a large
    vocabulary nothing.
    """
    cumulative_RV = torch.softmax(logits_RV.double(), dim=-1).cumsum(-1)
    # The last sum is 1 but for rounding; scaled by it, u < 1 always meets a token.
    total_R1 = cumulative_RV[:, -1:].contiguous()
    place_R1 = uniform_R.unsqueeze(1) * total_R1
    # The first token whose interval ends beyond u: a token of probability 0 has an empty interval, and is never drawn.
    tokens_R1 = torch.searchsorted(cumulative_RV, place_R1, right=True)
    # u * total can round up to total: then the last token with an interval of its own is meant.
    tokens_R1 = torch.minimum(tokens_R1, torch.searchsorted(cumulative_RV, total_R1))
    high_R1 = cumulative_RV.gather(1, tokens_R1)
    low_R1 = torch.where(tokens_R1 > 0, cumulative_RV.gather(1, (tokens_R1 - 1).clamp(min=0)), 0.0)
    width_R = (high_R1 - low_R1).squeeze(1)
    remainder_R = ((place_R1 - low_R1).squeeze(1) + fill_R * SPACING) / width_R
    return InverseDraw(
        tokens_R=tokens_R1.squeeze(1),
        remainder_R=remainder_R.clamp(0.0, BELOW_ONE),
        logprobs_R=torch.log(width_R / total_R1.squeeze(1)).float(),
    )


def top_probability(logits_RV: Tensor) -> Tensor:
    """[R] fp32 probability of each row's most likely token."""
    return torch.exp(logits_RV.amax(-1).float() - logits_RV.float().logsumexp(-1))
