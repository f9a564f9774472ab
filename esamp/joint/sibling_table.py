"""What the device keeps of each live sibling: one row per request in tensors that never move.

Legend: S rows of the table, R rows of a batch.
"""

from dataclasses import dataclass

import torch

from esamp.batch import NewRequest
from esamp.joint.codes import GroupCodes, stable_hash
from esamp.joint.random_bits import signed
from esamp.joint.sample_index import Sibling

FIRST_SIZE = 256


@dataclass(frozen=True, slots=True)
class TrackedSibling:
    """A live request."""

    sibling: Sibling
    slot: int
    """Its row in the table."""
    prompt_length: int
    """Tokens."""


class SiblingTable:
    """The code of each live request, and the key of its own stream of random numbers."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed = seed
        self._free: list[int] = []
        self.code_S = torch.empty(0, dtype=torch.float64, device=device)
        """What is left of the sample's u, in [0, 1)."""
        self.key_S = torch.empty(0, dtype=torch.int64, device=device)
        """Of `random_bits.uniform_at`."""
        self.has_started_S = torch.empty(0, dtype=torch.bool, device=device)
        """True once the code chooses the sample's tokens."""
        self.fence_S = torch.empty(0, dtype=torch.bool, device=device)
        """True once the sample has written the marks that open a code block."""

    def add(self, request: NewRequest, sibling: Sibling) -> TrackedSibling:
        """Give the request a row with the code of its index."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        code = GroupCodes.of(self._seed, sibling.group).uniform(sibling.index)
        self.code_S[slot] = code
        self.key_S[slot] = signed(stable_hash("sample", self._seed, sibling.group, sibling.index))
        self.has_started_S[slot] = self.fence_S[slot] = False
        return TrackedSibling(sibling, slot, len(request.prompt_token_ids))

    def remove(self, tracked: TrackedSibling) -> None:
        """Its row is free for another."""
        self._free.append(tracked.slot)

    def _grow(self) -> None:
        """Double the table. Only between steps, so no draw holds a view of it."""
        old = len(self.code_S)
        more = max(FIRST_SIZE, old)
        self._free.extend(range(old + more - 1, old - 1, -1))
        self.code_S = torch.cat([self.code_S, self.code_S.new_zeros(more)])
        self.key_S = torch.cat([self.key_S, self.key_S.new_zeros(more)])
        self.has_started_S = torch.cat([self.has_started_S, self.has_started_S.new_zeros(more)])
        self.fence_S = torch.cat([self.fence_S, self.fence_S.new_zeros(more)])
