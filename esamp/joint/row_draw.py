"""Rows of a batch that are drawn at given numbers instead of with the engine's random numbers.

Legend: R rows drawn so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RowUniforms:
    """Where each row's token lies on its distribution function."""

    uniform_R: Tensor
    """[R] float64 in [0, 1)."""
    fill_R: Tensor
    """[R] float64 in [0, 1): as in esamp.joint.inverse_cdf.draw_at."""


class RowDraw(Protocol):
    """Gives some rows of one step their numbers; the engine draws the other rows."""

    @property
    def rows(self) -> Tensor:
        """[R] int64, batch row of each, ascending."""
        ...

    def uniforms(self, top_probability: Callable[[], Tensor]) -> RowUniforms:
        """The numbers of the rows. `top_probability` gives [R] fp32, the probability of each row's most likely token after temperature and
        filters; it costs a pass over the logits."""
        ...

    def drawn(self, tokens_R: Tensor, remainder_R: Tensor) -> None:
        """The rows drew these tokens [R] int64; `remainder_R` [R] float64 is what is left of their numbers."""
