"""What the pipeline bench measures. Standard library only, so that `--help` is instant."""

from dataclasses import dataclass
from typing import Literal

BenchSampler = Literal["vanilla", "esamp"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineShape:
    """One comparison of the pipeline with its engine. Raises ValueError on a value outside its range."""

    model: str = "embedded"
    """"embedded" plays Countdown, with answers of some 20 tokens and a verifier; "random" is larger, hidden 512 x 8 layers with a
    vocabulary of 16,384, always answers with `max_tokens`, and is not verified. Any other is a folder or hub id: it continues prompts of
    random words, and is not verified."""
    sampler: BenchSampler = "vanilla"
    """"vanilla" is beta 0; "esamp" learns in the engine (trainer local)."""
    problems: int = 256
    """Prompts of a round."""
    samples: int = 16
    """Samples of each."""
    max_tokens: int = 48
    """Longest answer."""
    batch: int = 64
    """Samples decoded together in one shard."""
    inner_width: int = 48
    """Distiller width, with sampler esamp."""
    rounds: int = 3
    """Rounds; each measures every mode once, after one that warms up."""
    warmup_problems: int = 32
    """Prompts of the round that warms up."""

    def __post_init__(self) -> None:
        for name in ("problems", "samples", "max_tokens", "batch", "inner_width", "rounds", "warmup_problems"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1; got {getattr(self, name)}.")
