"""vLLM's top-p on a CPU, with the set it keeps to the last token, at a fraction of its time.

vLLM sorts every row of the logits together with the tokens' places, in torch, which takes most of its time. All it needs of the places is
which of several tokens with the logit at the cut are kept. So only the values are sorted here, by numpy, whose sort uses the processor's
vector instructions. Softmax and cumulative sum are vLLM's on the same numbers in the same order: another order (largest first, or the
likely part of the vocabulary alone) would round to another cut. A row whose cut falls between equal logits is left to vLLM.

Legend: B batch rows, V vocabulary.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Filter: TypeAlias = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
"""Logits [B, V], k [B] and p [B] to logits with -inf where filtered out."""


class SortedFilter:
    """Top-k and top-p in one. Keeps its memory from step to step: a fresh block of this size costs more page faults than the sort."""

    def __init__(self, whole_sort: Filter) -> None:
        """`whole_sort`: vLLM's own, for rows whose cut falls between equal logits."""
        self._whole_sort = whole_sort
        self._sorted = torch.empty(0)
        self._cumulative = torch.empty(0)

    def __call__(self, logits_BV: Tensor, k_B: Tensor | None, p_B: Tensor) -> Tensor:
        """`logits_BV` [B, V] fp32 on the host, with -inf in place, in place, of what vLLM's apply_top_k_top_p filters out.

        `k_B` [B] int, V keeps all; `p_B` [B] fp32.
        """
        if self._sorted.shape != logits_BV.shape:
            self._sorted, self._cumulative = torch.empty_like(logits_BV), torch.empty_like(logits_BV)
        sorted_BV = self._sorted.copy_(logits_BV)
        sorted_BV.numpy().sort(axis=-1)
        vocabulary = sorted_BV.shape[1]
        cut_by_k_B1 = None
        if k_B is not None:
            cut_by_k_B1 = sorted_BV.gather(1, (vocabulary - k_B.long()).unsqueeze(1))
        is_out_BV = self._is_out(sorted_BV, cut_by_k_B1, p_B)
        # What is filtered out comes first in each row, and the largest is never among it.
        num_out_B1 = is_out_BV.sum(-1, keepdim=True)
        cut_B1 = sorted_BV.gather(1, num_out_B1)
        are_ties_split_B1 = (torch.searchsorted(sorted_BV, cut_B1) < num_out_B1) & ~torch.isneginf(cut_B1)
        split = are_ties_split_B1.squeeze(1).nonzero().squeeze(1)
        if len(split) == 0:
            return logits_BV.masked_fill_(logits_BV < cut_B1, -torch.inf)
        # Of equal logits at the cut some are kept: which, only vLLM's sort can tell, whose order of equals is not defined.
        theirs = self._whole_sort(logits_BV[split], None if k_B is None else k_B[split], p_B[split])
        logits_BV.masked_fill_(logits_BV < cut_B1, -torch.inf)
        logits_BV[split] = theirs
        return logits_BV

    def _is_out(self, sorted_BV: Tensor, cut_by_k_B1: Tensor | None, p_B: Tensor) -> Tensor:
        """[B, V] which of the sorted logits are filtered out."""
        kept_BV = sorted_BV if cut_by_k_B1 is None else sorted_BV.masked_fill(sorted_BV < cut_by_k_B1, -torch.inf)
        torch.softmax(kept_BV, dim=-1, out=self._cumulative)
        torch.cumsum(self._cumulative, dim=-1, out=self._cumulative)
        is_out_BV = self._cumulative <= 1 - p_B.unsqueeze(1)
        if cut_by_k_B1 is not None:
            is_out_BV |= sorted_BV < cut_by_k_B1
        is_out_BV[:, -1] = False
        return is_out_BV
