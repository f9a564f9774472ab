"""Generation: work units go to LLM shards, samples come back. The stage of the pipeline that Ray Data calls per batch of units.

    batch of units -> GenerateSamples (one actor per shard, all alike) -> ShardPool: which shard? -> shard.generate(unit)
                      table per unit, in the order of the batch       <----------------------------- list[Sample]

A work unit whose problem has stopped is not launched, and one that is cancelled gives the samples it had finished: see tracker.py. A batch
that Ray Data runs again, since its actor or what it had made was lost, gives its tables in the same order: Ray takes those it already has
for the same ones.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

import pyarrow as pa
from ray.actor import ActorHandle

from actors.errors import UnitGivenUp
from actors.shards.router import ShardPool
from pipelines.errors import root_cause
from pipelines.runs.plan import StoredWorkUnit, stored_work_units
from pipelines.runs.schema import SAMPLE_SCHEMA, RunLabels, failed_table, samples_table
from pipelines.stages.early_stopping import Gate

logger = logging.getLogger(__name__)


class GenerateSamples:
    """Ray Data's callable of this stage: a batch of the plan in, a table of samples per unit out."""

    def __init__(self, router: ActorHandle, labels: RunLabels, gate: Gate, *, attempts: int) -> None:
        self._shards = ShardPool(router, attempts=attempts)
        self._labels = labels
        self._gate = gate

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        """Generate all work units of the batch at the same time. Raises NoShardLeft."""
        for unit in [asyncio.ensure_future(self._generate(unit)) for unit in stored_work_units(batch)]:
            yield await unit

    async def _generate(self, unit: StoredWorkUnit) -> pa.Table:
        work = unit.work
        if not await self._gate.is_open(work.problem_id):
            return SAMPLE_SCHEMA.empty_table()
        try:
            samples = await self._shards.generate(work)
        except (ValueError, UnitGivenUp) as error:
            # The error boundary: a unit that the model cannot take (a prompt too long, an empty one), or that ends engines, must not
            # end the run.
            logger.exception("unit %s failed", work.unit_id)
            return failed_table(root_cause(error), work, problem=unit.text, labels=self._labels)
        return samples_table(samples, work, problem=unit.text, labels=self._labels)
