"""Which policy an engine runs: the one that vLLM's `additional_config` names.

{"esamp": {"beta": 0.25}}         Exploratory Sampling; beta 0 is vLLM as it is
{"fire": {}}                      a hot first token
{"override": {}}                  each sample away from the one before
{"contrastive": {"amateur": ...}} away from a weaker model
"""

from collections.abc import Callable
from typing import Any

from esamp.baselines.config import ContrastiveConfig, FireConfig, OverrideConfig
from esamp.baselines.contrastive import ContrastivePolicy
from esamp.baselines.fire import FirePolicy
from esamp.baselines.override import OverridePolicy
from esamp.config import ESampConfig
from esamp.explorer import Explorer
from esamp.policy import SamplingPolicy, VanillaPolicy
from esamp.policy_config import PolicyConfig

PARSERS: dict[str, Callable[[dict[str, Any]], PolicyConfig]] = {
    "esamp": ESampConfig.from_dict,
    FireConfig.name: FireConfig.from_dict,
    OverrideConfig.name: OverrideConfig.from_dict,
    ContrastiveConfig.name: ContrastiveConfig.from_dict,
}
"""How the settings of each policy are read, by name."""


def parse_policy(additional_config: Any) -> PolicyConfig:
    """The policy's config. Raises ValueError unless exactly one known policy is named, with good values."""
    settings = additional_config if isinstance(additional_config, dict) else {}
    if len(settings) != 1 or not set(settings) <= set(PARSERS):
        raise ValueError(
            f"additional_config must name exactly one policy of {', '.join(PARSERS)}; got {sorted(settings) or 'none'}. "
            'Use {"esamp": {"beta": 0.0}} for vLLM as it is.'
        )
    [(name, values)] = settings.items()
    return PARSERS[name](values)


def build_policy(config: PolicyConfig, worker: Any) -> SamplingPolicy:
    """The policy for one worker. Raises UnsupportedEngine, or ValueError if a model it needs cannot be used. ESamp with beta 0 is
    vLLM as it is, to the last bit."""
    match config:
        case FireConfig():
            return FirePolicy(config)
        case OverrideConfig():
            return OverridePolicy(config, worker)
        case ContrastiveConfig():
            return ContrastivePolicy(config, worker)
        case ESampConfig():
            return Explorer(config, worker) if config.beta > 0 else VanillaPolicy()
