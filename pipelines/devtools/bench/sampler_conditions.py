"""What the engine bench measures on a real model: samplers as `jobs.passk` runs them, alone or with settings of their own."""

from actors.config import SamplingConfig
from esamp.baselines.config import ContrastiveConfig
from esamp.config import ESampConfig
from esamp.devtools.bench.model_cost import PolicyCondition
from pipelines.config.run import RunConfig
from pipelines.config.sampler_condition import SamplerCondition
from pipelines.config.samplers import SAMPLERS

STOCK = "stock"
MAIN_MODES = (STOCK, "vanilla", "esamp, record=behaviour", "esamp")
"""Measured over all rounds; the baselines and controls over a few."""
ALL_MODES = (*MAIN_MODES, *(name for name in SAMPLERS if name not in MAIN_MODES))
VANILLA = ESampConfig(beta=0.0)
"""What our worker runs for a sampler without a policy: vLLM's draw, recorded."""


def conditions(modes: tuple[str, ...], sampling: SamplingConfig, *, amateur: str) -> list[PolicyCondition]:
    """The conditions of `modes`, every sampler's if none is named; `sampling` is the run's, `amateur` contrastive decoding's weaker model.
    Raises InputError on a name or a setting that does not exist."""
    run = RunConfig(
        sampling=sampling, esamp=ESampConfig(trainer="local"), contrastive=ContrastiveConfig(amateur=amateur)
    )
    return [condition(mode, run) for mode in modes or ALL_MODES]


def condition(mode: str, run: RunConfig) -> PolicyCondition:
    """One of them; `run` holds what its sampler's settings start from."""
    if mode == STOCK:
        return PolicyCondition(mode, None, run.sampling, is_recorded=False)
    run = SamplerCondition.parse(mode).applied_to(run)
    policy = run.policy or VANILLA
    return PolicyCondition(mode, {policy.name: policy.to_dict()}, run.effective_sampling)
