"""Generation: work units go to LLM shards, samples come back and are scored. The stage of the pipeline that Ray Data calls per batch of
units.

    batch of units -> GenerateSamples (one actor per shard, all alike) -> ShardPool: which shard? -> shard.generate(unit)
                         |        ^  <----------------------------------------- sample, sample, ... as each is finished
                         |        +--> VerifierPool: its verdict
                         +--> LiveLog: on disk within seconds, then again with its verdict
                      table per unit, in the order of the batch, once all its samples have a verdict

What live/ holds of a unit, of an earlier session or of this actor before it was restarted, is not generated again. A work unit whose
problem has stopped is not launched, and one that is cancelled gives the samples it had finished: see early_stopping.py. A batch that Ray
Data runs again, since its actor or what it had made was lost, gives its tables in the same order: Ray takes those it already has for the
same ones. So a unit is a table, in the order of its samples. Samples are saved beside Ray Data and not by it, because it holds what this
stage yields until the whole batch is there.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from ray.actor import ActorHandle

from actors.errors import UnitGivenUp
from actors.shards.router import ShardPool
from pipelines.errors import root_cause
from pipelines.live.log import LiveLog, LiveSamples
from pipelines.metrics.sample_metrics import METRIC_COLUMNS, SampleMetrics
from pipelines.runs.finished_sample import FINISHED_COLUMNS, finished_sample
from pipelines.runs.plan import StoredWorkUnit, stored_work_units
from pipelines.runs.schema import (
    STORED_SCHEMA,
    RunLabels,
    as_resumed_group,
    failed_rows,
    has_verdict,
    sample_row,
    with_verdict,
)
from pipelines.runs.storage import storage_at
from pipelines.stages.early_stopping import Gate
from pipelines.stages.score import VerifierPool

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogSettings:
    """Where and how often a stage saves what it has finished."""

    folder: str
    """Path or URL of the run folder."""
    session: str
    """Part of the files' names, unique to the session."""
    save_every_s: float


class GenerateSamples:
    """Ray Data's callable of this stage: a batch of the plan in, a table of samples with their verdicts per unit out."""

    def __init__(
        self,
        router: ActorHandle,
        labels: RunLabels,
        gate: Gate,
        *,
        attempts: int,
        group_size: int,
        verifiers: Sequence[ActorHandle],
        listeners: Sequence[ActorHandle],
        log: LogSettings,
    ) -> None:
        """`listeners`, Progress and others, are told of every sample when it has its verdict. `group_size`: samples of a problem in the
        extension round, which may be several work units. A session that goes on with a problem generates fewer: its Distiller then waits
        for the others in vain, until another problem needs the slot or the round ends."""
        self._shards = ShardPool(router, attempts=attempts)
        self._labels = labels
        self._group_size = group_size
        self._gate = gate
        self._verifiers = VerifierPool(verifiers)
        self._listeners = list(listeners)
        self._metrics = SampleMetrics()
        storage = storage_at(log.folder)
        # What a former incarnation of this actor has saved is seen too: Ray Data gives its batches to this one.
        self._saved = LiveSamples(storage)
        self._log = LiveLog(
            storage,
            session=log.session,
            stage=uuid.uuid4().hex[:8],
            save_every_s=log.save_every_s,
            on_saved=self._metrics.add_saved,
        )
        # Also if the router is lost: the session ends then.
        router.wait_for_drain.remote().future().add_done_callback(lambda _: self._log.session_stops())

    def close(self) -> None:
        """Save what is left and end the stage's thread. Ray Data does not call it: there the process ends. Raises OSError if samples
        cannot be saved."""
        self._log.close()

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        """Generate all work units of the batch at the same time. Raises NoShardLeft."""
        units = [asyncio.ensure_future(self._generate(unit)) for unit in stored_work_units(batch)]
        try:
            for unit in units:
                yield await unit
        except Exception:
            # This ends the run, and Ray ends this process with it: what the units had finished must be on disk before.
            await asyncio.to_thread(self._log.save)
            raise

    async def _generate(self, unit: StoredWorkUnit) -> pa.Table:
        """[samples of the unit that are finished] in their order."""
        work = replace(unit.work, group_size=self._group_size)
        saved = await asyncio.to_thread(self._saved.rows, work.problem_id, work.sample_indices)
        scoring = [asyncio.ensure_future(self._scored(row)) for row in saved.values()]
        missing = work.without(saved.keys())
        done = set(saved)
        if missing.sample_indices and await self._gate.is_open(work.problem_id):
            try:
                async for sample in self._shards.generate(missing):
                    done.add(sample.sample_index)
                    row = sample_row(sample, work, problem=unit.text, labels=self._labels)
                    self._log.add(row)
                    scoring.append(asyncio.ensure_future(self._scored(row)))
            except (ValueError, UnitGivenUp) as error:
                # The error boundary: a unit that the model cannot take (a prompt too long, an empty one), or that ends engines, must not
                # end the run.
                logger.exception("unit %s failed", work.unit_id)
                rows = failed_rows(root_cause(error), work.without(done), problem=unit.text, labels=self._labels)
                scoring += [asyncio.ensure_future(self._scored(row)) for row in rows]
        rows = [STORED_SCHEMA.empty_table(), *await asyncio.gather(*scoring)]
        table = pa.concat_tables(rows).sort_by("sample_index")
        # Some samples of a resumed unit were saved before it was; what is stored says it of the whole group.
        return as_resumed_group(table) if any(table["group_resumed"].to_pylist()) else table

    async def _scored(self, row: pa.Table) -> pa.Table:
        """[1] the row of a sample with its verdict, once it has one."""
        if has_verdict(row):
            return row
        row = with_verdict(row, await self._verifiers.verdict(row))
        self._metrics.add(row.select(METRIC_COLUMNS).to_pylist())
        finished = finished_sample(row.select(FINISHED_COLUMNS).to_pylist()[0])
        for listener in self._listeners:
            listener.add.remote([finished])
        if finished.is_generated:
            self._log.add(row)
        return row
