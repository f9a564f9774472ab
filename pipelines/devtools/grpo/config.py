"""What is trained, and from samples of what."""

from dataclasses import asdict, dataclass
from pathlib import Path

from esamp.config import ESampConfig
from esamp.joint.config import QuasiConfig
from esamp.policy_config import PolicyConfig
from esamp.server.arguments import VANILLA, named_policy
from pipelines.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """How the samples of a training are generated, and what the trainer makes of them."""

    policy: PolicyConfig
    is_corrected: bool = False
    """Weight every token by min(3, its probability under the model / under what it was drawn from): TRL's token_truncate."""


CONDITIONS: dict[str, Condition] = {
    "vanilla": Condition(policy=named_policy(VANILLA)),
    "vanilla-corrected": Condition(policy=named_policy(VANILLA), is_corrected=True),
    "quasi": Condition(policy=QuasiConfig()),
    "esamp": Condition(policy=ESampConfig()),
    "esamp-corrected": Condition(policy=ESampConfig(), is_corrected=True),
}
"""`quasi` leaves the distribution of each sample as it is, so that its samples need no correction. That of `vanilla` is a control: its
weights are 1 if the engine has the trainer's weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GrpoConfig:
    """Trainings of the embedded model that differ in their sampler and their seed."""

    output: Path = Path("runs/countdown-grpo")
    """Folder for results, one file for each training. The same command makes those that are missing."""
    conditions: tuple[str, ...] = ("vanilla", "quasi", "esamp", "esamp-corrected")
    """Samplers; NAME-corrected has truncated importance weights."""
    seeds: tuple[int, ...] = (0,)
    """A training of each condition for each seed, of the problems and of the samples."""
    steps: int = 60
    """Optimiser steps, >= 1."""
    problems: int = 16
    """Problems of a step, >= 1; none comes twice."""
    samples: int = 16
    """Samples of a problem, >= 2."""
    learning_rate: float = 1e-4
    """AdamW's, constant, > 0."""
    evaluate_every: int = 10
    """Steps between evaluations, >= 1."""
    held_out: int = 200
    """Held-out problems, >= 1, of 16 samples each at each evaluation."""
    threads: int = 2
    """CPU threads, >= 1."""

    def __post_init__(self) -> None:
        for name in ("steps", "problems", "evaluate_every", "held_out", "threads"):
            value = asdict(self)[name]
            if value < 1:
                raise InputError(f"{name} must be >= 1; got {value}.")
        if self.samples < 2:
            raise InputError(f"samples must be >= 2: an advantage compares siblings. Got {self.samples}.")
        for name in self.conditions:
            if name not in CONDITIONS:
                raise InputError(f"conditions must be among {', '.join(CONDITIONS)}; got {name!r}.")

    @property
    def recipe(self) -> dict[str, float]:
        """What two trainings that are compared have in common."""
        names = ("steps", "problems", "samples", "learning_rate", "evaluate_every", "held_out")
        return {name: asdict(self)[name] for name in names}
