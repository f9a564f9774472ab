"""Where a sample's code begins to choose its tokens. One class per rule; the tokens before are drawn independently.

A code couples the first ln k nats of what it chooses. Where a chat model spends these on a preamble, the code had better begin later.

Legend: R rows of one step, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

FENCE = "```"


@dataclass(frozen=True, slots=True, eq=False)
class StartRows:
    """What rules look at."""

    has_started_R: Tensor
    """[R] bool, before this token."""
    has_fence_R: Tensor
    """[R] bool, the reply has opened a code block."""
    num_generated_R: Tensor
    """[R] int64 tokens of the reply so far."""
    top_probability: Callable[[], Tensor]
    """As RowDraw.uniforms has it."""


class StartRule(Protocol):
    """Decides, before each token, whether the code chooses it."""

    def starts(self, rows: StartRows) -> Tensor:
        """[R] bool; what has started stays so."""
        ...


@dataclass(frozen=True, slots=True)
class StartAtToken:
    """After so many tokens of the reply; 0 is at once."""

    token: int

    def starts(self, rows: StartRows) -> Tensor:
        return rows.num_generated_R >= self.token


@dataclass(frozen=True, slots=True)
class StartAtFork:
    """At the first token that the model is not sure of."""

    probability: float

    def starts(self, rows: StartRows) -> Tensor:
        return rows.has_started_R | (rows.top_probability() < self.probability)


@dataclass(frozen=True, slots=True)
class StartAtCodeFence:
    """After the line that opens the reply's first code block. `track` follows the tokens that were drawn."""

    opens_V: Tensor
    """[V] bool, the token's text holds three backticks."""
    ends_line_V: Tensor
    """[V] bool, the token's text holds a line break after any backticks."""

    def starts(self, rows: StartRows) -> Tensor:
        return rows.has_started_R

    def track(self, has_started_R: Tensor, has_fence_R: Tensor, tokens_R: Tensor) -> tuple[Tensor, Tensor]:
        """has_started_R and has_fence_R after these tokens."""
        has_fence_R = has_fence_R | self.opens_V[tokens_R]
        return has_started_R | (has_fence_R & self.ends_line_V[tokens_R]), has_fence_R

    @classmethod
    def of(cls, texts: list[str], device: torch.device) -> "StartAtCodeFence":
        """From the text of each token of the vocabulary."""
        return cls(
            torch.tensor([FENCE in text for text in texts], device=device),
            torch.tensor(["\n" in text.rpartition(FENCE)[2] for text in texts], device=device),
        )
