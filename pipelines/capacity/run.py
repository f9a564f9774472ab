"""The capacity model applied to a run that somebody means to make: its exchange, tokens and hours, before anything starts."""

from dataclasses import dataclass

from actors.capacity.inputs import CapacityInputs
from actors.capacity.trainer_costs import ASSUMED_GPU, TrainerCosts
from actors.config import learns_elsewhere
from esamp.config import ESampConfig
from pipelines.capacity.advice import carries, verdict
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.prepare.dry_run import estimate_run, num_parameters, tokens_per_s
from pipelines.prepare.model_files import load_model_config
from pipelines.prepare.run import prepare_run

DRIVER_BYTES = 0.76e9
"""Of the driver's process before it knows many problems: Python, torch, transformers, Ray and its session."""
DRIVER_BYTES_PER_UNIT = 0.55e3
"""And per unit of work, most of it in the summary at the end: measured with a million units of 4 samples (docs/runs.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunNeeds:
    """Upper bounds, of the order of magnitude that a dry run gives."""

    problems: int
    samples: int
    answer_tokens: int
    hours: float
    """Once the engines run."""
    gpu_hours: float
    """Of all shards; 0 on CPUs."""
    driver_bytes: float
    """Memory of the driver's process."""


def exchange_warning(config: RunConfig) -> str | None:
    """What the capacity model has against the trainers of a run; None if it has none, or they carry."""
    if not learns_elsewhere(config.policy):
        return None
    inputs = run_inputs(config)
    costs = ASSUMED_GPU if config.exchange.trainer_gpus else TrainerCosts.from_file()
    if carries(inputs, costs):
        return None
    return f"the trainer may not keep up. By the capacity model (python -m jobs.plan) {verdict(inputs, costs)}."


def run_needs(config: RunConfig) -> RunNeeds:
    """Tokens and time of a run. Makes the checks a run makes; raises InputError."""
    run = prepare_run(config)
    estimate = estimate_run(run)
    hours = estimate.seconds / 3600
    return RunNeeds(
        problems=estimate.problems,
        samples=estimate.samples,
        answer_tokens=estimate.answer_tokens,
        hours=hours,
        gpu_hours=hours * config.shards * config.engine.num_gpus,
        driver_bytes=DRIVER_BYTES + run.plan.num_units * DRIVER_BYTES_PER_UNIT,
    )


def run_inputs(config: RunConfig) -> CapacityInputs:
    """The exchange of a run. Raises InputError if it has none, or its model cannot be loaded."""
    policy = config.policy
    if not isinstance(policy, ESampConfig) or policy.beta == 0:
        raise InputError(
            f"a run with sampler {config.sampler} and beta {config.beta:g} trains no Distiller: there is nothing to plan."
        )
    model_config = load_model_config(config).get_text_config()
    batch = config.engine.max_num_seqs
    samples = min(config.samples_per_work_unit or config.samples, config.samples, batch)
    return CapacityInputs(
        hidden_size=model_config.hidden_size,
        steps_per_s=tokens_per_s(config, num_parameters(model_config)) / batch,
        shards=config.shards,
        prompts=max(1, min(batch // samples, policy.max_groups)),
        samples=samples,
        answer_tokens=config.sampling.max_tokens,
        scope=policy.scope,
        trainer="actor" if policy.trainer == "actor" else "local",
        trainers=config.trainers,
        exchange_share=config.exchange.share,
        max_groups=policy.max_groups,
        inner_width=policy.inner_width,
        num_blocks=policy.num_blocks,
    )
