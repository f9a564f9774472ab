"""What the engine bench measures on a real model: every sampler that `jobs.passk` names, as it runs it."""

from dataclasses import replace

from actors.config import SamplingConfig
from esamp.baselines.config import ContrastiveConfig
from esamp.config import ESampConfig
from esamp.devtools.bench.model_cost import PolicyCondition
from esamp.policy_config import PolicyConfig
from pipelines.config.samplers import SAMPLERS
from pipelines.errors import InputError

STOCK = "stock"
BEHAVIOUR_ONLY = "esamp, record=behaviour"
MAIN_MODES = (STOCK, "vanilla", BEHAVIOUR_ONLY, "esamp")
"""Measured over all rounds; the baselines and controls over a few."""
VANILLA = ESampConfig(beta=0.0)


def mode_names() -> tuple[str, ...]:
    """Every mode, the main ones first."""
    return (*MAIN_MODES, *(name for name in SAMPLERS if name not in MAIN_MODES))


def conditions(modes: tuple[str, ...], sampling: SamplingConfig, *, amateur: str) -> list[PolicyCondition]:
    """The conditions of `modes`, all of them if none is named; `sampling` is the run's. Raises InputError on an unknown name."""
    for mode in modes:
        if mode not in mode_names():
            raise InputError(f"with --model, --modes takes some of {', '.join(map(repr, mode_names()))}; got {mode!r}.")
    return [condition(mode, sampling, amateur=amateur) for mode in mode_names() if not modes or mode in modes]


def condition(mode: str, sampling: SamplingConfig, *, amateur: str) -> PolicyCondition:
    """One of them. Policies train in the engine; `amateur` is contrastive decoding's."""
    if mode == STOCK:
        return PolicyCondition(mode, None, sampling, is_recorded=False)
    if mode == BEHAVIOUR_ONLY:
        policy: PolicyConfig = ESampConfig(trainer="local", record="behaviour")
        return PolicyCondition(mode, {policy.name: policy.to_dict()}, sampling)
    sampler = SAMPLERS[mode]
    config = None if sampler.config is None else own_config(sampler.config, amateur)
    policy = sampler.policy(config, 0) or VANILLA
    return PolicyCondition(mode, {policy.name: policy.to_dict()}, sampler.sampling(sampling, config))


def own_config(config: type[PolicyConfig], amateur: str) -> PolicyConfig:
    """The sampler's settings as they are without any option."""
    if config is ContrastiveConfig:
        return ContrastiveConfig(amateur=amateur)
    made = config()
    return replace(made, trainer="local") if isinstance(made, ESampConfig) else made
