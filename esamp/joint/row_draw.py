"""Drawing some rows of a batch in place of the engine.

Legend: B batch rows, R rows drawn here, V vocabulary.
"""

from typing import Protocol

from torch import Tensor


class RowDraw(Protocol):
    """Draws the tokens of some rows; the engine draws those of the others."""

    @property
    def rows(self) -> Tensor:
        """[R] int64, batch row of each, ascending."""
        ...

    def __call__(self, logits_BV: Tensor) -> Tensor:
        """Tokens [R] int64, from logits [B, V] that went through temperature and filters (-inf where filtered out). Leaves them as they
        are."""
        ...
