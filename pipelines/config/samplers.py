"""The samplers a run may name: ESamp, the baselines it is compared with, and controls that take it apart. Adding one is an entry here.

A sampler that is a policy of the engine says what it is in its config class (esamp/policies.py), whose section of the command line is a
field of RunConfig. All samplers run on the same engine from the same seeds and give samples of the same columns.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from actors.config import SamplingConfig
from esamp.baselines.config import ContrastiveConfig, FireConfig, OverrideConfig
from esamp.config import ESampConfig, FusionForm, Prediction
from esamp.fork_bonus.config import NoveltyConfig, TrieConfig
from esamp.joint.config import LatentConfig, QuasiConfig
from esamp.policy_config import PolicyConfig
from pipelines.errors import InputError
from pipelines.prepare.tree_of_thoughts import with_tree_of_thoughts

Messages = list[dict[str, str]]
"""Chat messages, {"role", "content"} each."""


def as_given(sampling: SamplingConfig, config: PolicyConfig | None) -> SamplingConfig:
    """The sampling parameters of the run, unchanged."""
    return sampling


def its_config(config: PolicyConfig | None, seed: int) -> PolicyConfig | None:
    """The policy that the sampler's own settings describe; vLLM's own sampling for a sampler without any."""
    return config


def with_run_seed(config: PolicyConfig | None, seed: int) -> PolicyConfig:
    """The policy that the sampler's own settings describe, with the run's seed. Raises InputError if they name another."""
    assert isinstance(config, QuasiConfig | LatentConfig), config
    if config.seed not in (0, seed):
        raise InputError(f"{config.name}.seed is the run's seed; got {config.seed}. Leave it out, and give --seed.")
    return replace(config, seed=seed)


def no_policy(config: PolicyConfig | None, seed: int) -> PolicyConfig | None:
    """vLLM's own sampling."""
    return None


def same_messages(messages: Messages) -> Messages:
    """The prompt as the task has it."""
    return messages


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """One way to sample: all that is said of it and done for it."""

    about: str
    """In one line, for --help."""
    config: type[PolicyConfig] | None = None
    """Class of its own settings; it depends on no other sampler's."""
    sampling: Callable[[SamplingConfig, PolicyConfig | None], SamplingConfig] = as_given
    """Its sampling parameters, from the run's and from its own settings."""
    policy: Callable[[PolicyConfig | None, int], PolicyConfig | None] = its_config
    """What stands between the model's logits and the sampled token, from its own settings and the run's seed."""
    messages: Callable[[Messages], Messages] = same_messages
    """Its prompt, from the task's."""
    needs_chat: bool = False
    """It is made of chat messages, so that a model without a chat template cannot have it."""
    caveats: tuple[str, ...] = ()
    """What a user must know before comparing its samples with another sampler's; a sentence each."""


def policy_sampler(
    config: type[PolicyConfig], policy: Callable[[PolicyConfig | None, int], PolicyConfig | None] = its_config
) -> Sampler:
    """A policy of the engine as a sampler: its config class says what it is and what to know of it."""
    return Sampler(about=config.about, config=config, policy=policy, caveats=config.caveats)


def top_p(sampling: SamplingConfig, config: PolicyConfig | None) -> SamplingConfig:
    """Nucleus sampling (arXiv:1904.09751) with its usual mass, if the run names none."""
    return sampling if sampling.top_p < 1 else replace(sampling, top_p=0.95)


def top_k(sampling: SamplingConfig, config: PolicyConfig | None) -> SamplingConfig:
    """Top-k sampling (arXiv:1805.04833) with a usual k, if the run names none."""
    return sampling if sampling.top_k > 0 else replace(sampling, top_k=50)


def min_p(sampling: SamplingConfig, config: PolicyConfig | None) -> SamplingConfig:
    """Min-p sampling (arXiv:2407.01082) with the ESamp paper's 0.1, if the run names none."""
    return sampling if sampling.min_p > 0 else replace(sampling, min_p=0.1)


def sharpened(sampling: SamplingConfig, config: PolicyConfig | None) -> SamplingConfig:
    """T / (1 + beta): what ESamp amounts to if the Distiller's logits are the same for all tokens."""
    assert isinstance(config, ESampConfig), config
    return replace(sampling, temperature=sampling.temperature / (1 + config.beta))


def esamp_with(
    about: str, *, prediction: Prediction | None = None, fusion: FusionForm | None = None, learns: bool = True
) -> Sampler:
    """The run's ESamp with something else in one place."""

    def policy(config: PolicyConfig | None, seed: int) -> PolicyConfig:
        assert isinstance(config, ESampConfig), config
        if not learns:
            config = replace(config, trainer="none")
        elif prediction in ("running_mean", "vocabulary") and config.trainer in ("auto", "actor"):
            config = replace(config, trainer="local")  # they have no weights that an actor could send
        return replace(config, prediction=prediction or config.prediction, fusion=fusion or config.fusion)

    # A Distiller that never learns takes nothing from one sample to the next.
    return Sampler(about=about, config=ESampConfig, policy=policy, caveats=ESampConfig.caveats if learns else ())


SAMPLERS: dict[str, Sampler] = {
    "vanilla": Sampler(about="the model's own distribution"),
    "top-p": Sampler(about="nucleus sampling; --sampling.top-p, else 0.95", sampling=top_p),
    "top-k": Sampler(about="the k likeliest tokens; --sampling.top-k, else 50", sampling=top_k),
    "min-p": Sampler(about="tokens near the likeliest; --sampling.min-p, else 0.1", sampling=min_p),
    "quasi": policy_sampler(QuasiConfig, with_run_seed),
    "latent": policy_sampler(LatentConfig, with_run_seed),
    "novelty": policy_sampler(NoveltyConfig),
    "trie": policy_sampler(TrieConfig),
    "fire": policy_sampler(FireConfig),
    "override": policy_sampler(OverrideConfig),
    "contrastive": policy_sampler(ContrastiveConfig),
    "tree-of-thoughts": Sampler(
        about="vanilla, after a system prompt that asks for branches and self-review",
        messages=with_tree_of_thoughts,
        needs_chat=True,
        caveats=("Its prompt is longer than the other samplers', and its answers take more tokens.",),
    ),
    "esamp": policy_sampler(ESampConfig),
    "subtraction": esamp_with("ablation: z_model - beta z_distiller", fusion="subtraction"),
    "sharpened": Sampler(
        about="control: no Distiller, temperature T/(1+beta)", sampling=sharpened, policy=no_policy, config=ESampConfig
    ),
    "entropy-matched": esamp_with(
        "control: token by token the temperature with ESamp's entropy", fusion="entropy_matched"
    ),
    "frozen": esamp_with("control: a random Distiller that never learns", learns=False),
    "running-mean": esamp_with("control: the mean deep state instead of a Distiller", prediction="running_mean"),
    "shuffled": esamp_with("control: another prompt's Distiller", prediction="shuffled"),
    "noise": esamp_with("control: the Distiller's error in a random direction", prediction="noise"),
    "vocabulary": esamp_with("ablation: a Distiller of the next-token distribution", prediction="vocabulary"),
}

SAMPLER_HELP = "How samples are generated. " + "; ".join(
    f"{name}: {sampler.about}" for name, sampler in SAMPLERS.items()
)
"""For --help."""
