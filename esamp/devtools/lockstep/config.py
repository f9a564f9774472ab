"""One condition of a lockstep experiment. Standard library and esamp.config only."""

from dataclasses import dataclass

from esamp.config import ESampConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LockstepConfig:
    """How the samples of a condition are generated. Raises ValueError on a value outside its range."""

    esamp: ESampConfig
    """Exploratory Sampling; beta 0 is vanilla."""
    temperature: float = 1.0
    """Softmax temperature, > 0."""
    rounds: int = 1
    """The samples of a problem are generated in this many equal groups, one after the other, that share the Distiller, >= 1. With one round
    all samples are at the same token, so that no prefix has been learned from before a sample reaches it."""
    train_steps: int = 1
    """Optimiser steps after each token, >= 1. The paper: 1."""
    replay: int = 0
    """Rows that each of these steps learns from per problem, drawn from all rows of the problem so far; 0, the paper, for those of the
    latest token alone, which all are at the same position."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be > 0; got {self.temperature}.")
        for name, value in (("rounds", self.rounds), ("train_steps", self.train_steps)):
            if value < 1:
                raise ValueError(f"{name} must be >= 1; got {value}.")
        if self.replay < 0:
            raise ValueError(f"replay must be >= 0; got {self.replay}.")
        if self.esamp.trainer == "actor":
            raise ValueError('trainer="actor" needs an engine; use "sync".')
