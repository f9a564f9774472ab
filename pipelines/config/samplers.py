"""The samplers a run may name: ESamp, the baselines it is compared with, and controls that take it apart. Adding one is an entry here.

All run on the same engine from the same seeds and give samples of the same columns.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from actors.config import SamplingConfig
from esamp.baselines.config import ContrastiveConfig, FireConfig, OverrideConfig
from esamp.config import ESampConfig, FusionForm, Prediction
from esamp.policy_config import PolicyConfig

SamplerName = Literal[
    "vanilla",
    "top-p",
    "top-k",
    "min-p",
    "fire",
    "override",
    "contrastive",
    "tree-of-thoughts",
    "esamp",
    "subtraction",
    "sharpened",
    "entropy-matched",
    "frozen",
    "running-mean",
    "shuffled",
    "noise",
    "vocabulary",
]

SECTIONS = ("esamp", "fire", "override", "contrastive")
"""Parts of a run's config that belong to some samplers only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerSettings:
    """What samplers are made of: parts of a run's config."""

    sampling: SamplingConfig
    esamp: ESampConfig
    fire: FireConfig
    override: OverrideConfig
    contrastive: ContrastiveConfig


def as_given(settings: SamplerSettings) -> SamplingConfig:
    """The sampling parameters of the run, unchanged."""
    return settings.sampling


def no_policy(settings: SamplerSettings) -> PolicyConfig | None:
    """vLLM's own draw."""
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """One way to draw samples."""

    about: str
    """In one line."""
    sampling: Callable[[SamplerSettings], SamplingConfig] = as_given
    policy: Callable[[SamplerSettings], PolicyConfig | None] = no_policy
    section: str | None = None
    """The one of SECTIONS it depends on."""


def top_p(settings: SamplerSettings) -> SamplingConfig:
    """Nucleus sampling (arXiv:1904.09751) with its usual mass, if the run names none."""
    sampling = settings.sampling
    return sampling if sampling.top_p < 1 else replace(sampling, top_p=0.95)


def top_k(settings: SamplerSettings) -> SamplingConfig:
    """Top-k sampling (arXiv:1805.04833) with a usual k, if the run names none."""
    sampling = settings.sampling
    return sampling if sampling.top_k > 0 else replace(sampling, top_k=50)


def min_p(settings: SamplerSettings) -> SamplingConfig:
    """Min-p sampling (arXiv:2407.01082) with the ESamp paper's 0.1, if the run names none."""
    sampling = settings.sampling
    return sampling if sampling.min_p > 0 else replace(sampling, min_p=0.1)


def sharpened(settings: SamplerSettings) -> SamplingConfig:
    """T / (1 + beta): what ESamp amounts to if the Distiller's logits are the same for all tokens."""
    sampling = settings.sampling
    return replace(sampling, temperature=sampling.temperature / (1 + settings.esamp.beta))


def esamp_with(
    *, prediction: Prediction | None = None, fusion: FusionForm | None = None, learns: bool = True
) -> Callable[[SamplerSettings], PolicyConfig]:
    """The run's ESamp with something else in one place."""

    def policy(settings: SamplerSettings) -> PolicyConfig:
        config = settings.esamp
        if not learns:
            config = replace(config, trainer="none")
        elif prediction in ("running_mean", "vocabulary") and config.trainer == "actor":
            config = replace(config, trainer="local")  # they have no weights that an actor could send
        return replace(config, prediction=prediction or config.prediction, fusion=fusion or config.fusion)

    return policy


SAMPLERS: dict[SamplerName, Sampler] = {
    "vanilla": Sampler(about="the model's own distribution"),
    "top-p": Sampler(about="nucleus sampling; --sampling.top-p, else 0.95", sampling=top_p),
    "top-k": Sampler(about="the k likeliest tokens; --sampling.top-k, else 50", sampling=top_k),
    "min-p": Sampler(about="tokens near the likeliest; --sampling.min-p, else 0.1", sampling=min_p),
    "fire": Sampler(about="FIRE: a hot first token", policy=lambda settings: settings.fire, section="fire"),
    "override": Sampler(
        about="OverRIDE: each sample away from the one before",
        policy=lambda settings: settings.override,
        section="override",
    ),
    "contrastive": Sampler(
        about="contrastive decoding against --contrastive.amateur",
        policy=lambda settings: settings.contrastive,
        section="contrastive",
    ),
    "tree-of-thoughts": Sampler(about="vanilla, after a system prompt that asks for branches and self-review"),
    "esamp": Sampler(about="Exploratory Sampling", policy=lambda settings: settings.esamp, section="esamp"),
    "subtraction": Sampler(
        about="ablation: z_model - beta z_distiller", policy=esamp_with(fusion="subtraction"), section="esamp"
    ),
    "sharpened": Sampler(about="control: no Distiller, temperature T/(1+beta)", sampling=sharpened, section="esamp"),
    "entropy-matched": Sampler(
        about="control: token by token the temperature with ESamp's entropy",
        policy=esamp_with(fusion="entropy_matched"),
        section="esamp",
    ),
    "frozen": Sampler(
        about="control: a random Distiller that never learns", policy=esamp_with(learns=False), section="esamp"
    ),
    "running-mean": Sampler(
        about="control: the mean deep state instead of a Distiller",
        policy=esamp_with(prediction="running_mean"),
        section="esamp",
    ),
    "shuffled": Sampler(
        about="control: another prompt's Distiller", policy=esamp_with(prediction="shuffled"), section="esamp"
    ),
    "noise": Sampler(
        about="control: the Distiller's error in a random direction",
        policy=esamp_with(prediction="noise"),
        section="esamp",
    ),
    "vocabulary": Sampler(
        about="ablation: a Distiller of the next-token distribution",
        policy=esamp_with(prediction="vocabulary"),
        section="esamp",
    ),
}
