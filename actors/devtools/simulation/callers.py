"""The load of a simulation: asks for work units without end, through the real ShardPool and ShardRouter."""

import asyncio
import itertools
import time
from dataclasses import dataclass

from ray.actor import ActorHandle

from actors.devtools.simulation.config import SimulationConfig
from actors.shards.router import ShardPool
from actors.types import WorkUnit


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitObservation:
    """What the callers have seen since they started; waits, since they were last observed."""

    asked: int
    returned: int
    returned_again: int
    """Units that came back more than once."""
    waits_s: list[float]
    """Of units: from the call to their arrival at a shard, and from their end back to the caller."""


class UnitCallers:
    """Asks for units without end, `callers` at a time. A Ray actor, as pipelines.stages.generate.GenerateSamples is."""

    def __init__(self, router: ActorHandle, config: SimulationConfig) -> None:
        self._config = config
        self._pool = ShardPool(router, attempts=1)
        self._numbers = itertools.count()
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._asked = self._returned_again = 0
        self._returned: set[str] = set()
        self._waits: list[float] = []

    async def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self._config.callers)]

    async def observe(self) -> UnitObservation:
        """What happened; forgets the waits. Raises what a call raised."""
        for task in self._tasks:
            if task.done():
                task.result()
        waits, self._waits = self._waits, []
        return UnitObservation(
            asked=self._asked, returned=len(self._returned), returned_again=self._returned_again, waits_s=waits
        )

    async def stop(self) -> None:
        """Ask for nothing more, and wait for what was asked for."""
        self._is_stopping = True
        await asyncio.gather(*self._tasks)

    async def _call(self) -> None:
        while not self._is_stopping:
            unit = self._next_unit()
            started = time.monotonic()
            samples = [sample async for sample in self._pool.generate(unit)]
            if samples:
                self._waits.append(time.monotonic() - started - max(sample.generation_seconds for sample in samples))
            self._returned_again += unit.unit_id in self._returned
            self._returned.add(unit.unit_id)

    def _next_unit(self) -> WorkUnit:
        self._asked += 1
        name = f"p{next(self._numbers)}"
        indices = tuple(range(self._config.samples))
        return WorkUnit(unit_id=f"{name}#0", problem_id=name, prompt=name, sample_indices=indices, seeds=indices)
