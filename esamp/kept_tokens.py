"""What a filter left of the vocabulary at each draw: a trainer that masks its own logits alike compares like with like.

Legend: B batch rows, V vocabulary, N kept tokens of all rows together.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_KEPT = 1024
"""Tokens of one draw that are stored. Top-p keeps a few where the model is sure, and thousands where it is not."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptTokens:
    """The tokens that top-k, top-p, min-p and masks left in one step."""

    token_N: Tensor
    """[N] int32, row after row, in ascending order within a row."""
    count_B: Tensor
    """[B] int64: how many of them are each row's; 0 for a row that kept more than MOST_KEPT."""
    is_capped_B: Tensor
    """[B] bool: the row kept more than MOST_KEPT, and its tokens are not stored."""
    is_filtered_B: Tensor
    """[B] bool: the row kept less than the vocabulary."""


def kept_tokens(logits_BV: Tensor, is_greedy_B: Tensor) -> KeptTokens:
    """What is above -inf in filtered logits. Greedy rows count as not filtered: nothing is drawn for them. On a GPU the host waits."""
    is_kept_BV = logits_BV > -torch.inf
    count_B = is_kept_BV.sum(-1)
    is_filtered_B = (count_B < logits_BV.shape[1]) & ~is_greedy_B
    is_capped_B = count_B > MOST_KEPT
    is_kept_BV &= ~is_capped_B.unsqueeze(1)
    token_N = is_kept_BV.nonzero()[:, 1].int()
    return KeptTokens(token_N, torch.where(is_capped_B, 0, count_B), is_capped_B, is_filtered_B)
