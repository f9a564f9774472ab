"""Generation: units of work go to LLM shards, samples come back. The stage of the pipeline that Ray Data calls per batch of units.

    batch of units -> GenerateSamples (one actor per shard, all alike) -> ShardRouter: which shard? -> shard.generate(unit)
                      table per unit, as soon as it is drawn          <-------------------------------- list[Sample]

Every unit goes to the shard with the fewest units under way; units of one problem stay together, so that they share a Distiller and
the prefix cache. A unit whose problem has stopped is not launched, and one that is cancelled gives the samples it had finished: see
scoreboard.py.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

import pyarrow as pa
from ray.actor import ActorHandle

from actors.types import Sample
from pipelines.errors import root_cause
from pipelines.plan import StoredUnit, stored_units
from pipelines.sample_table import SAMPLE_SCHEMA, RunLabels, failed_table, samples_table
from pipelines.scoreboard import Gate

logger = logging.getLogger(__name__)


class ShardRouter:
    """Knows how many units each shard has under way. One small Ray actor per run."""

    def __init__(self, num_shards: int) -> None:
        self._units_under_way = [0] * num_shards
        self._shard_of_problem: dict[str, int] = {}

    def take(self, problem_id: str) -> int:
        """Index of the shard that shall draw the next unit of this problem: its own, or the one with the least to do."""
        if problem_id not in self._shard_of_problem:
            self._shard_of_problem[problem_id] = self._units_under_way.index(min(self._units_under_way))
        shard = self._shard_of_problem[problem_id]
        self._units_under_way[shard] += 1
        return shard

    def give_back(self, shard: int) -> None:
        """A unit has ended."""
        self._units_under_way[shard] -= 1


class GenerateSamples:
    """Ray Data's callable of this stage: a batch of the plan in, a table of samples per unit out, in the order they finish."""

    def __init__(self, shards: list[ActorHandle], router: ActorHandle, labels: RunLabels, gate: Gate) -> None:
        self._shards = shards
        self._router = router
        self._labels = labels
        self._gate = gate

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        """Draw all units of the batch at the same time. Raises what the engine raised, and RayActorError if a shard is gone."""
        for unit in asyncio.as_completed([self._generate(unit) for unit in stored_units(batch)]):
            yield await unit

    async def _generate(self, unit: StoredUnit) -> pa.Table:
        work = unit.work
        if not await self._gate.is_open(work.problem_id):
            return SAMPLE_SCHEMA.empty_table()
        shard = await self._router.take.remote(work.problem_id)
        try:
            samples: list[Sample] = await self._shards[shard].generate.remote(work)
        except ValueError as error:
            # The named boundary: a unit that the model cannot take (a prompt too long, an empty one) must not end the run. What
            # breaks an engine does: see LLMShard.generate.
            logger.exception("unit %s failed", work.unit_id)
            return failed_table(root_cause(error), work, problem=unit.text, labels=self._labels)
        finally:
            self._router.give_back.remote(shard)
        return samples_table(samples, work, problem=unit.text, labels=self._labels)
