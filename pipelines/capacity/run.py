"""What a run needs before anything starts: how long it may take, and the driver's memory."""

from dataclasses import dataclass

from pipelines.config.run import RunConfig
from pipelines.prepare.dry_run import estimate_run
from pipelines.prepare.run import prepare_run

DRIVER_BYTES = 0.76e9
"""Of the driver's process before it knows many problems: Python, torch, transformers, Ray and its session."""
DRIVER_BYTES_PER_UNIT = 0.55e3
"""And per work unit, most of it in the summary at the end: measured with a million units of 4 samples (docs/runs.md)."""


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
