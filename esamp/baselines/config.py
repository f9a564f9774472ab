"""What a user may set about the baselines that ESamp is compared with. Standard library only: a light process can import it.

Where the ESamp paper (arXiv:2604.24927) leaves a value open, the field says where ours comes from.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from esamp.policy_config import PolicyConfig

ContrastiveForm = Literal["difference", "reasoning"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FireConfig(PolicyConfig):
    """FIRE: the first token of a sample is drawn at a high temperature. Raises ValueError on a value outside its range."""

    name: ClassVar[str] = "fire"
    policy_factory: ClassVar[str] = "esamp.baselines.fire.FirePolicy"
    about: ClassVar[str] = "FIRE: a hot first token"
    caveats: ClassVar[tuple[str, ...]] = (
        "Filters hold for the first token too; FIRE as published has none, so run it without top-p and min-p.",
    )
    first_temperature: float = 30.0
    """Temperature of the first token, > 0. The ESamp paper's grid: 10, 30, 50."""
    first_top_k: int = 16
    """The first token is one of the k most likely, >= 1. The ESamp paper gives no k."""

    def __post_init__(self) -> None:
        check_positive(self.name, "first_temperature", self.first_temperature)
        check_at_least_one(self.name, "first_top_k", self.first_top_k)


@dataclass(frozen=True, kw_only=True, slots=True)
class OverrideConfig(PolicyConfig):
    """OverRIDE: each sample is moved away from a model of the sample before it. Raises ValueError on a value outside its range."""

    name: ClassVar[str] = "override"
    policy_factory: ClassVar[str] = "esamp.baselines.override.OverridePolicy"
    about: ClassVar[str] = "OverRIDE: each sample away from the one before"
    caveats: ClassVar[tuple[str, ...]] = (
        "The first sample of a prompt is vanilla, and so are those past `rounds`.",
        "Its heads are shared by all prompts of an engine, so a sample depends on the prompts that ran before it.",
    )
    rounds: int = 10
    """Samples of a prompt that take part, >= 2: sample 0 is vanilla, 1 to rounds - 1 are changed, those beyond are vanilla again."""
    rank: int = 16
    """Rank of each head's change to lm_head, >= 1."""
    strength: float = 0.8
    """lambda >= 0 in z - lambda dz. The authors' scripts: 0.8, and 0.4 for Mistral and Llama."""
    learning_rate: float = 1e-3
    """Adam step size, > 0; its other settings are PyTorch's defaults, as in the authors' code."""
    init_scale: float = 0.02
    """Standard deviation of the random A, > 0; B starts at 0."""
    seed: int = 0
    """Of the random A."""

    def __post_init__(self) -> None:
        if self.rounds < 2:
            raise ValueError(f"override rounds must be >= 2; got {self.rounds}.")
        check_at_least_one(self.name, "rank", self.rank)
        check_positive(self.name, "learning_rate", self.learning_rate)
        check_positive(self.name, "init_scale", self.init_scale)
        check_not_negative(self.name, "strength", self.strength)

    @property
    def couples_samples(self) -> bool:
        """See PolicyConfig: each sample moves away from the one before."""
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastiveConfig(PolicyConfig):
    """Contrastive decoding against an amateur model. Raises ValueError on a value outside its range."""

    name: ClassVar[str] = "contrastive"
    policy_factory: ClassVar[str] = "esamp.baselines.contrastive.ContrastivePolicy"
    about: ClassVar[str] = "contrastive decoding against --contrastive.amateur"
    caveats: ClassVar[tuple[str, ...]] = (
        "The amateur model and its cache take memory beside the engine's: lower gpu_memory_utilization on a GPU.",
    )
    amateur: str
    """Folder or hub id of a causal language model with the engine's vocabulary. The ESamp paper: Qwen2.5-0.5B-Instruct, Qwen3-0.6B."""
    alpha: float = 0.1
    """Only tokens with at least this share of the most likely token's probability can be drawn, in (0, 1]. Open in the ESamp paper;
    0.1 is that of arXiv:2210.15097."""
    form: ContrastiveForm = "difference"
    """"difference": log p_expert - log p_amateur (arXiv:2210.15097); "reasoning": (1+b) z_expert - b z_amateur (arXiv:2309.09117)."""
    strength: float = 0.5
    """b >= 0, of the reasoning form alone. Open in the ESamp paper; 0.5 is that of arXiv:2309.09117."""

    @property
    def supports_lora(self) -> bool:
        """See PolicyConfig: the amateur knows no adapters."""
        return False

    def __post_init__(self) -> None:
        if not self.amateur:
            raise ValueError(
                "contrastive amateur must name a model; got an empty string. Give a folder or a hub id such as Qwen/Qwen3-0.6B."
            )
        if not 0 < self.alpha <= 1:
            raise ValueError(f"contrastive alpha must be in (0, 1]; got {self.alpha}.")
        if self.form not in get_args(ContrastiveForm):
            raise ValueError(
                f"contrastive form must be one of {', '.join(get_args(ContrastiveForm))}; got {self.form!r}."
            )
        check_not_negative(self.name, "strength", self.strength)


def check_positive(baseline: str, setting: str, value: float) -> None:
    """Raise ValueError unless `value` is finite and > 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{baseline} {setting} must be finite and > 0; got {value}.")


def check_not_negative(baseline: str, setting: str, value: float) -> None:
    """Raise ValueError unless `value` is finite and >= 0."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{baseline} {setting} must be finite and >= 0; got {value}.")


def check_at_least_one(baseline: str, setting: str, value: int) -> None:
    """Raise ValueError unless `value` is >= 1."""
    if value < 1:
        raise ValueError(f"{baseline} {setting} must be >= 1; got {value}.")
