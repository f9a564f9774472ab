"""What a user may set about bonuses at forks. Standard library only: a light process can import it."""

import math
from dataclasses import dataclass
from typing import ClassVar

from esamp.policy_config import PolicyConfig

CHANGES_MARGINALS = (
    "A sample's distribution is no longer the model's: compare at equal pass@1, and use importance weights for RL."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ForkBonusConfig(PolicyConfig):
    """What bonuses of all kinds have. Raises ValueError on a value outside its range."""

    caveats: ClassVar[tuple[str, ...]] = (CHANGES_MARGINALS,)
    beta: float = 1.0
    """Nats that a candidate gains per unit of novelty above the row's mean, >= 0."""
    candidates: int = 8
    """Most likely tokens of a row that are scored, >= 2."""
    fork_probability: float = 0.9
    """Rows whose most likely token is at least this likely are left alone, in (0, 1]."""
    stagger: int = 0
    """Decode steps, >= 0, between the starts of a work unit's samples, so that each meets forks that those before it have seen: of samples
    that start at once none has seen a fork before the others reach it. Of runs: users of plain vLLM choose when to add a request."""
    max_groups: int = 32
    """Prompt groups that can explore at the same time, >= 1. Further groups stay vanilla and are counted."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise ValueError(f"{self.name} beta must be finite and >= 0; got {self.beta}.")
        if self.candidates < 2:
            raise ValueError(f"{self.name} candidates must be >= 2; got {self.candidates}.")
        if not 0 < self.fork_probability <= 1:
            raise ValueError(f"{self.name} fork_probability must be in (0, 1]; got {self.fork_probability}.")
        if self.stagger < 0:
            raise ValueError(f"{self.name} stagger must be >= 0; got {self.stagger}.")
        if self.max_groups < 1:
            raise ValueError(f"{self.name} max_groups must be >= 1; got {self.max_groups}.")

    @property
    def couples_samples(self) -> bool:
        """See PolicyConfig."""
        return self.beta > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class NoveltyConfig(ForkBonusConfig):
    """A bonus for successors that are new in latent space: least-squares uncertainty of (deep state, token)."""

    name: ClassVar[str] = "novelty"
    policy_factory: ClassVar[str] = "esamp.fork_bonus.policy.novelty_policy"
    about: ClassVar[str] = "a bonus at forks for successors that are new in latent space"
    features: int = 256
    """Random features of a state with a token, >= 1. Memory of a group: 4 features^2 bytes."""
    ridge: float = 1.0
    """Rows' worth of trust in "never seen", > 0."""
    seed: int = 0
    """Of the random features."""

    def __post_init__(self) -> None:
        ForkBonusConfig.__post_init__(self)
        if self.features < 1:
            raise ValueError(f"novelty features must be >= 1; got {self.features}.")
        if not (math.isfinite(self.ridge) and self.ridge > 0):
            raise ValueError(f"novelty ridge must be finite and > 0; got {self.ridge}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrieConfig(ForkBonusConfig):
    """The rival without a network: pseudo-counts on the tree of the siblings' tokens."""

    name: ClassVar[str] = "trie"
    policy_factory: ClassVar[str] = "esamp.fork_bonus.policy.trie_policy"
    about: ClassVar[str] = "control: a bonus at forks for tokens that no sibling drew after the same tokens"
