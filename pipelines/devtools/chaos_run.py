"""The evaluation that chaos disturbs: a run whose shards note each sample the moment it is finished, beside the run and not through it.

    python -m pipelines.devtools.chaos_run OUTPUT SEED PROBLEMS SAMPLES

A note is a line of the file that ESAMP_CHAOS_NOTES names: seconds since 1970, sample index, problem_id.
"""

import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from actors.config import EngineConfig, SamplingConfig
from actors.shards.fleet import Fleet
from actors.shards.shard_actor import ShardActor
from actors.types import Sample, WorkUnit
from esamp.config import ESampConfig
from pipelines.config.run import RunConfig
from pipelines.logs.console import run_console
from pipelines.passk import run_passk

NOTES_VARIABLE = "ESAMP_CHAOS_NOTES"
SHARDS = 2


class NotingShard(ShardActor):
    """A shard that notes what it has finished."""

    async def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]:
        async for sample in super().generate(unit):
            # One write of one line in append mode: lines of several processes do not mix.
            with open(os.environ[NOTES_VARIABLE], "a") as notes:
                notes.write(f"{time.time()} {sample.sample_index} {sample.problem_id}\n")
            yield sample


class NotingFleet(Fleet):
    """A fleet of them."""

    shard_class = NotingShard


def chaos_config(output: Path, *, seed: int, problems: int, samples: int) -> RunConfig:
    """ESamp on the embedded model, small output files, a shard for each node but the driver's."""
    return RunConfig(
        output=output,
        seed=seed,
        limit=problems,
        samples=samples,
        sampler="esamp",
        esamp=ESampConfig(trainer="actor"),
        work_units_per_file=2,
        shards=SHARDS,
        min_shards=1,
        work_unit_attempts=5,
        engine=EngineConfig(enforce_eager=True, dtype="float32", kv_cache_gib=0.1, max_num_seqs=32),
        sampling=SamplingConfig(max_tokens=48),
    )


if __name__ == "__main__":
    _, output, seed, problems, samples = sys.argv
    config = chaos_config(Path(output), seed=int(seed), problems=int(problems), samples=int(samples))
    run_passk(config, console=run_console(), start_fleet=NotingFleet)
