"""What is exported of a run, and how."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from typing_extensions import Doc

from pipelines.errors import InputError
from pipelines.rollouts.advantages import AdvantageName
from pipelines.rollouts.formats.registry import FORMAT_HELP, FORMATS

Allowance = Literal["nan", "early-stopped", "mixed-weights", "filtered"]
"""nan: log-probabilities that the run did not record. early-stopped: groups of a run that stopped problems early. mixed-weights: samples of
several versions of the model's weights. filtered: behaviour log-probabilities of filtered draws (top-p, top-k, min-p) without the kept
tokens, which no trainer can compare with its own."""


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which groups and rollouts are exported. Advantages are those of the complete group, whatever is left out here."""

    drop_all_correct: bool = False
    """Leave out groups whose answers are all correct."""
    drop_all_wrong: bool = False
    """Leave out groups without a correct answer."""
    best: int | None = None
    """Keep so many rollouts of a group, those of the highest reward; of equal ones the first in launch order."""
    deduplicate: bool = False
    """Keep one rollout of those in a group whose response tokens are the same."""
    min_tokens: int = 0
    """Shortest response, in tokens."""
    max_tokens: int | None = None
    """Longest response, in tokens."""
    truncated: Literal["auto", "keep", "drop"] = "auto"
    """Responses that ended at their length limit; auto drops them in formats whose trainers put an end token behind every response."""
    min_mixed_groups: int = 0
    """Refuse the export if fewer groups than this hold different rewards; only those teach a group-relative method anything."""

    def __post_init__(self) -> None:
        if self.best is not None and self.best < 1:
            raise InputError(f"filter.best must be >= 1; got {self.best}. Leave it out to keep all.")
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise InputError(
                f"filter.max_tokens must be >= filter.min_tokens; got {self.max_tokens} and {self.min_tokens}."
            )


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """How a run becomes rollouts."""

    format: Annotated[str, Doc(FORMAT_HELP)] = "canonical"
    advantages: AdvantageName = "grpo"
    """How rewards of a group become advantages."""
    allow: tuple[Allowance, ...] = ()
    """Export what is refused otherwise: nan, early-stopped, mixed-weights, filtered (see docs/rollouts.md)."""
    keep_failures: bool = False
    """Keep rows without a reward (generation, verifier or sandbox failed; unverified), flagged. Canonical format only."""
    filter: FilterConfig = field(default_factory=FilterConfig)
    """Which groups and rollouts."""
    groups_per_step: int = 32
    """Groups in a file of the formats that have one file per training step: slime's rollout_batch_size, verl's train_batch_size."""
    prompt_length: int = 512
    """verl: its data.max_prompt_length, tokens that prompts are padded to."""
    data_source: str | None = None
    """prompts: what the trainer chooses its reward function by; by default the run's task or dataset."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(f"format must be one of {', '.join(FORMATS)}; got {self.format!r}.")
        if self.groups_per_step < 1:
            raise InputError(f"groups_per_step must be >= 1; got {self.groups_per_step}.")
        if self.keep_failures and not FORMATS[self.format].takes_failures:
            takers = ", ".join(name for name, entry in FORMATS.items() if entry.takes_failures)
            raise InputError(
                f"format {self.format} has no place for a rollout without a reward; leave keep_failures out, or use {takers}."
            )
        if self.advantages == "none" and FORMATS[self.format].needs_advantages:
            raise InputError(f"format {self.format} carries advantages; use --advantages grpo or leave-one-out.")
