"""What the host-time bench measures. Standard library only, so that `--help` is instant."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class HostTimeShape:
    """One batch. Raises ValueError on a value outside its range."""

    batch: int = 256
    """Samples decoded together."""
    prompts: int = 4
    """Prompts among them: as many Distillers."""
    tokens: int = 96
    """Tokens of every sample: the steps of a batch."""
    rounds: int = 20
    """Rounds; each runs every mode once, in turns with stock vLLM."""

    def __post_init__(self) -> None:
        for name in ("batch", "prompts", "tokens", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1; got {getattr(self, name)}.")
        if self.batch % self.prompts:
            raise ValueError(f"batch must be a multiple of prompts; got {self.batch} and {self.prompts}.")
