"""The policies an engine may run, each by the name that vLLM's `additional_config` gives it. Standard library only.

    {"esamp": {"beta": 0.25}}          Exploratory Sampling; beta 0 is vLLM as it is
    {"quasi": {}}                      joint draws with exact marginals
    {"latent": {}}                     joint draws per cell of the deep state
    {"novelty": {}}                    a bonus for new successors at forks
    {"trie": {}}                       the same by counting tokens
    {"fire": {}}                       a hot first token
    {"override": {}}                   each sample away from the one before
    {"contrastive": {"amateur": ...}}  away from a weaker model

To add one, write its PolicyConfig (settings, help, caveats, `policy_factory`) and enter the class here.
"""

from typing import Any

from esamp.baselines.config import ContrastiveConfig, FireConfig, OverrideConfig
from esamp.config import ESampConfig
from esamp.fork_bonus.config import NoveltyConfig, TrieConfig
from esamp.joint.config import LatentConfig, QuasiConfig
from esamp.policy_config import PolicyConfig

POLICIES: dict[str, type[PolicyConfig]] = {
    config.name: config
    for config in (
        ESampConfig,
        QuasiConfig,
        LatentConfig,
        NoveltyConfig,
        TrieConfig,
        FireConfig,
        OverrideConfig,
        ContrastiveConfig,
    )
}
"""Config class of each policy, by its name."""


def parse_policy(additional_config: Any) -> PolicyConfig:
    """The policy's config. Raises ValueError unless exactly one known policy is named, with good values."""
    settings = additional_config if isinstance(additional_config, dict) else {}
    if len(settings) != 1 or not set(settings) <= set(POLICIES):
        raise ValueError(
            f"additional_config must name exactly one policy of {', '.join(POLICIES)}; got {sorted(settings) or 'none'}. "
            'Use {"esamp": {"beta": 0.0}} for vLLM as it is.'
        )
    [(name, values)] = settings.items()
    return POLICIES[name].from_dict(values)
