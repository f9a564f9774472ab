"""Which policy an engine runs: the one that vLLM's `additional_config` names, {"esamp": {...}}; none is vLLM as it is."""

from typing import Any

from esamp.config import ESampConfig
from esamp.explorer import Explorer
from esamp.policy import SamplingPolicy, VanillaPolicy

PolicyConfig = ESampConfig


def parse_policy(additional_config: Any) -> PolicyConfig:
    """The policy's config. Raises ValueError on an unknown name or a bad value."""
    settings = additional_config if isinstance(additional_config, dict) else {}
    return ESampConfig.from_dict(settings.get("esamp", {}))


def build_policy(config: PolicyConfig, worker: Any) -> SamplingPolicy:
    """The policy for one worker. Raises UnsupportedEngine. ESamp with beta 0 is vLLM as it is, to the last bit."""
    return Explorer(config, worker) if config.beta > 0 else VanillaPolicy()
