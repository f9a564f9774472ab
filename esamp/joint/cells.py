"""Cells: which siblings, at which of their tokens, draw from one low-discrepancy sequence. One class per way.

Legend: R rows of one step, H hidden size, b projections.
"""

from collections import deque
from typing import Protocol

import torch
from torch import Tensor

from esamp.joint.codes import stable_hash

EMPTY_PREFIX = 0


class CellMap(Protocol):
    """Gives each row the cell that its next token is drawn in."""

    def cells(self, request_ids: list[str], hidden_RH: Tensor) -> list[int]:
        """Cell of each row, from its deep state [R, H] or its own tokens. On a GPU the host waits for the answer."""
        ...

    def append(self, request_id: str, token: int) -> None:
        """The request has drawn this token."""
        ...

    def forget(self, request_id: str) -> None:
        """The request has ended."""
        ...


class LatentCells:
    """Signs of random projections of the deep state, less its running mean: states that point in alike directions share a cell."""

    def __init__(self, *, bits: int, centring: float, hidden_size: int, seed: int, device: torch.device) -> None:
        # Its own generator: the global one draws the tokens of seedless requests.
        generator = torch.Generator().manual_seed(seed)
        self._projection_Hb = torch.randn(hidden_size, bits, generator=generator).to(device)
        self._weights_b = (2 ** torch.arange(bits, dtype=torch.int64)).to(device)
        self._mean_H = torch.zeros(hidden_size, device=device)
        self._centring = centring
        self._steps = 0

    def cells(self, request_ids: list[str], hidden_RH: Tensor) -> list[int]:
        """See CellMap. The mean is that of earlier steps, so that a row's cell does not depend on which rows share its step."""
        states_RH = hidden_RH.float()
        # All states of a transformer share a large common part, whose sign would fill most bits: without its removal few cells are used.
        mean_H = self._mean_H / (1 - self._centring**self._steps) if self._steps and self._centring else 0.0
        is_positive_Rb = (states_RH - mean_H) @ self._projection_Hb > 0
        if self._centring:
            self._mean_H = self._centring * self._mean_H + (1 - self._centring) * states_RH.mean(0)
            self._steps += 1
        cells: list[int] = (is_positive_Rb * self._weights_b).sum(-1).tolist()
        return cells

    def append(self, request_id: str, token: int) -> None:
        """Tokens do not matter."""

    def forget(self, request_id: str) -> None:
        """Nothing is kept."""


class PrefixCells:
    """A control without a network: the exact tokens so far. Siblings are coupled until they diverge, as with `quasi`."""

    def __init__(self) -> None:
        self._prefix: dict[str, int] = {}

    def cells(self, request_ids: list[str], hidden_RH: Tensor) -> list[int]:
        """See CellMap."""
        return [self._prefix.get(request_id, EMPTY_PREFIX) for request_id in request_ids]

    def append(self, request_id: str, token: int) -> None:
        """A hash of the prefix and its next token."""
        self._prefix[request_id] = stable_hash(self._prefix.get(request_id, EMPTY_PREFIX), token)

    def forget(self, request_id: str) -> None:
        """See CellMap."""
        self._prefix.pop(request_id, None)


class SuffixCells:
    """A control without a network: the last few tokens. Siblings are coupled again wherever they write the same."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._suffix: dict[str, deque[int]] = {}

    def cells(self, request_ids: list[str], hidden_RH: Tensor) -> list[int]:
        """See CellMap."""
        return [stable_hash(*self._suffix.get(request_id, ())) for request_id in request_ids]

    def append(self, request_id: str, token: int) -> None:
        """See CellMap."""
        self._suffix.setdefault(request_id, deque(maxlen=self._length)).append(token)

    def forget(self, request_id: str) -> None:
        """See CellMap."""
        self._suffix.pop(request_id, None)
