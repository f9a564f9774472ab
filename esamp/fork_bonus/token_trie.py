"""Novelty without a network: how often siblings drew a token after exactly the same tokens."""

from collections import Counter, defaultdict

import torch
from torch import Tensor

from esamp.fork_bonus.novelty_score import ForkRows
from esamp.joint.codes import stable_hash

ROOT = 0
"""The prefix of a reply without tokens."""


class TokenTrie:
    """A NoveltyScore: 1 / sqrt(1 + n) after n siblings drew the token at the same place of the tree. Looks at tokens on the host."""

    def __init__(self) -> None:
        self._counts: dict[int, dict[int, Counter[int]]] = {}
        """Slot -> prefix -> token -> siblings."""
        self._prefix: dict[str, int] = {}

    def open(self, slot: int) -> None:
        """See NoveltyScore."""
        self._counts[slot] = defaultdict(Counter)

    def score(self, rows: ForkRows, token_RK: Tensor) -> Tensor:
        """See NoveltyScore."""
        counts_RK = [
            [self._counts[slot][self._prefix.get(request_id, ROOT)][token] for token in tokens]
            for slot, request_id, tokens in zip(rows.slots, rows.request_ids, token_RK.tolist(), strict=True)
        ]
        return torch.tensor(counts_RK, dtype=torch.float32, device=token_RK.device).add_(1).rsqrt()

    def observe(self, rows: ForkRows, tokens_R: Tensor) -> None:
        """See NoveltyScore."""
        for slot, request_id, token in zip(rows.slots, rows.request_ids, tokens_R.tolist(), strict=True):
            prefix = self._prefix.get(request_id, ROOT)
            self._counts[slot][prefix][token] += 1
            self._prefix[request_id] = stable_hash(prefix, token)

    def forget(self, request_id: str) -> None:
        """See NoveltyScore; its place in the tree stays."""
        self._prefix.pop(request_id, None)
