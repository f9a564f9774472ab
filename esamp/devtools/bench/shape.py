"""One point of the grid: a model's shape, a batch and its sampling. Standard library only."""

from dataclasses import dataclass
from typing import Any, Literal

Filter = Literal["none", "top_k", "top_p", "min_p"]

FILTERS: dict[Filter, dict[str, Any]] = {
    "none": {},
    "top_k": {"top_k": 50},
    "top_p": {"top_p": 0.95},
    "min_p": {"min_p": 0.05},
}
"""Sampling parameters of each filter: values in common use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Raises ValueError on a value outside its range."""

    hidden: int = 512
    """Hidden size, a multiple of 128."""
    layers: int = 8
    """Decoder layers, >= 2."""
    vocabulary: int = 16_384
    """Tokens."""
    prompts: int = 4
    """Prompts in the batch: as many Distillers."""
    samples: int = 16
    """Samples of each prompt; prompts x samples is the batch."""
    inner_width: int = 384
    """Distiller width. The paper's 384 belongs to hidden size 4096."""
    filter: Filter = "none"
    """Which filter leaves how many candidates."""

    def __post_init__(self) -> None:
        if self.hidden % 128 or self.hidden < 128:
            raise ValueError(f"hidden must be a multiple of 128; got {self.hidden}.")
        if self.layers < 2:
            raise ValueError(f"layers must be >= 2; got {self.layers}.")
        for name, value in (("prompts", self.prompts), ("samples", self.samples), ("vocabulary", self.vocabulary)):
            if value < 1:
                raise ValueError(f"{name} must be >= 1; got {value}.")

    @property
    def batch(self) -> int:
        """Samples decoded together."""
        return self.prompts * self.samples

    @property
    def label(self) -> str:
        """In a few words."""
        return (
            f"hidden {self.hidden} x {self.layers} layers, vocabulary {self.vocabulary:,}, "
            f"{self.prompts} prompts x {self.samples} samples, inner width {self.inner_width}, filter {self.filter}"
        )
