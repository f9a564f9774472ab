"""How new a successor is: the interface of the ways to tell.

Legend: R rows, K candidates of a row, H hidden size.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ForkRows:
    """Rows of one step that may fork."""

    request_ids: tuple[str, ...]
    """[R]"""
    groups: tuple[str, ...]
    """[R]"""
    slots: tuple[int, ...]
    """[R] slot of each row's group."""
    hidden_RH: Tensor
    """[R, H] deep states, in the model's dtype."""


class NoveltyScore(Protocol):
    """What the siblings of each group have shown, and how new a candidate is beside it."""

    def open(self, slot: int) -> None:
        """`slot` now serves another group: forget."""

    def score(self, rows: ForkRows, token_RK: Tensor) -> Tensor:
        """[R, K] fp32 in [0, 1]: 1 for a successor unlike any that was drawn."""
        ...

    def observe(self, rows: ForkRows, tokens_R: Tensor) -> None:
        """The rows drew these tokens [R] int64."""

    def forget(self, request_id: str) -> None:
        """The request has ended."""
