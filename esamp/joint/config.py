"""What a user may set about joint draws. Standard library only: a light process can import it."""

import math
from dataclasses import dataclass
from typing import ClassVar

from esamp.policy_config import PolicyConfig

START_FORMS = 'one of "prompt", "first-fork", "code-fence" or "token N" with N >= 0, such as "token 8"'
CELLS = ("latent", "prefix", "suffix")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuasiConfig(PolicyConfig):
    """Joint draws with exact marginals: arithmetic sampling (arXiv:2210.15458) with golden-ratio codes (quasi-Monte Carlo,
    arXiv:2607.01179). Raises ValueError on a value outside its range."""

    name: ClassVar[str] = "quasi"
    policy_factory: ClassVar[str] = "esamp.joint.quasi.QuasiPolicy"
    about: ClassVar[str] = "joint draws: siblings share out the probability space, each an exact sample of the model"
    caveats: ClassVar[tuple[str, ...]] = (
        "Siblings are not exchangeable: pass@k is the mean over windows of k neighbouring samples, not over random subsets.",
    )
    siblings_form_sequence: ClassVar[bool] = True
    keeps_marginals: ClassVar[bool] = True
    start: str = "prompt"
    """Where a sample's code begins to choose its tokens: "prompt", at the first; "first-fork", at the first token whose most likely
    candidate has a probability below `fork_probability`; "code-fence", after the line that opens the reply's first code block; "token N",
    after N tokens. Tokens before it are drawn independently. A code only couples the first ln k nats of a reply, which a chat model
    may spend on its preamble."""
    fork_probability: float = 0.9
    """In (0, 1); with start="first-fork"."""
    seed: int = 0
    """Of the groups' offsets; jobs take the run's seed."""

    def __post_init__(self) -> None:
        words = self.start.split()
        is_token = len(words) == 2 and words[0] == "token" and words[1].isdigit()
        if not is_token and self.start not in ("prompt", "first-fork", "code-fence"):
            raise ValueError(f"quasi start must be {START_FORMS}; got {self.start!r}.")
        if not 0 < self.fork_probability < 1:
            raise ValueError(f"quasi fork_probability must be in (0, 1); got {self.fork_probability}.")

    @property
    def couples_samples(self) -> bool:
        """See PolicyConfig. Each sample depends on its own index alone, but the set of siblings is not a set of independent draws."""
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentConfig(PolicyConfig):
    """Joint draws within latent cells: siblings whose deep states are alike draw from one low-discrepancy sequence, also after they have
    diverged. Raises ValueError on a value outside its range."""

    name: ClassVar[str] = "latent"
    policy_factory: ClassVar[str] = "esamp.joint.latent.LatentPolicy"
    about: ClassVar[str] = "joint draws per cell of the model's deep state, which go on after siblings diverge"
    caveats: ClassVar[tuple[str, ...]] = (
        "Siblings are coupled in the order in which they arrive at a cell, so samples depend on the schedule of the engine.",
        "Cells are shared within one engine: siblings on other shards are independent.",
    )
    keeps_marginals: ClassVar[bool] = True
    cells: str = "latent"
    """What a cell is: "latent", signs of random projections of the deep state; controls without a network: "prefix", the exact tokens
    so far; "suffix", the last `suffix_tokens` of them."""
    source_depth: float | None = None
    """Deep state that cells are made of, as a share of the model's decoder layers, in (0, 1), rounded to a whole layer: the residual stream
    after it. None: what lm_head reads. With cells="latent"."""
    bits: int = 16
    """Random projections, 1 to 62, so that there are 2^bits cells; with cells="latent"."""
    suffix_tokens: int = 8
    """>= 1; with cells="suffix"."""
    centring: float = 0.99
    """Decay of the running mean that is subtracted from deep states, in [0, 1); 0 subtracts nothing."""
    fork_probability: float = 1.0
    """Only tokens whose most likely candidate has a probability below this are drawn jointly, in (0, 1]; 1 means all."""
    seed: int = 0
    """Of offsets and projections; jobs take the run's seed."""

    def __post_init__(self) -> None:
        if self.cells not in CELLS:
            raise ValueError(f"latent cells must be one of {', '.join(CELLS)}; got {self.cells!r}.")
        if self.source_depth is not None and not 0 < self.source_depth < 1:
            raise ValueError(
                f"latent source_depth must be in (0, 1); got {self.source_depth}. Leave it out for the last."
            )
        if self.source_depth is not None and self.cells != "latent":
            raise ValueError(f'latent source_depth is that of cells="latent"; got cells={self.cells!r}.')
        if not 1 <= self.bits <= 62:
            raise ValueError(f"latent bits must be in 1..62; got {self.bits}.")
        if self.suffix_tokens < 1:
            raise ValueError(f"latent suffix_tokens must be >= 1; got {self.suffix_tokens}.")
        if not (math.isfinite(self.centring) and 0 <= self.centring < 1):
            raise ValueError(f"latent centring must be in [0, 1); got {self.centring}.")
        if not 0 < self.fork_probability <= 1:
            raise ValueError(f"latent fork_probability must be in (0, 1]; got {self.fork_probability}.")

    def layer_of(self, num_layers: int) -> int | None:
        """Decoder layers before the state of the cells, in a model of `num_layers`; None for what lm_head reads."""
        if self.source_depth is None:
            return None
        return min(max(1, round(self.source_depth * num_layers)), num_layers - 1)

    @property
    def couples_samples(self) -> bool:
        """See PolicyConfig."""
        return True
