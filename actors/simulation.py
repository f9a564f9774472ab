"""Measures a real exchange between simulated engines: real shard actors, router, outboxes, letters and trainers; only the engines pretend.

    UnitCallers (actor): ShardPool -> ShardRouter -> SimulatedShardActor x N -> letters -> DistillerTrainer x M
    this process: waits, then looks at the counters of all of them, twice, and at Ray's object store in between

Everything is counted between two looks, but for `Account`, which is of the whole simulation: after the last unit every row that was drawn
must be told of.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psutil
import ray
from ray.actor import ActorHandle

from actors.fleet import Fleet
from actors.router import ShardPool, start_router
from actors.shard_actor import ShardActor
from actors.simulation_config import QUEUED_BATCHES, SimulatedShardConfig, SimulationConfig
from actors.start_turn import start_turn
from actors.types import TrainerStats, WorkUnit

if TYPE_CHECKING:
    from actors.simulated_shard import ShardObservation

LOOK_S = 0.5
"""Between two looks at the object store."""
SETTLE_S = 60.0
"""Longest wait, after the last unit, for the last letters to be answered."""
CALLS_AT_A_TIME = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitObservation:
    """What the callers have seen since they started; waits, since they were last asked."""

    asked: int
    returned: int
    returned_again: int
    """Units that came back more than once."""
    waits_s: list[float]
    """Of units: from the call to their arrival at a shard, and from their end back to the caller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Where every unit and every row of a simulation went."""

    units_asked: int
    units_returned: int
    units_returned_again: int
    drawn_rows: int
    sent_rows: int
    dropped_rows: int
    """By shards: they were never sent."""
    lost_rows: int
    trained_rows: int
    refused_rows: int
    """By trainers."""

    @property
    def waiting_rows(self) -> int:
        """Neither sent nor dropped."""
        return self.drawn_rows - self.sent_rows - self.dropped_rows

    @property
    def rows_under_way(self) -> int:
        """Sent, and not answered."""
        return self.sent_rows - self.lost_rows - self.trained_rows - self.refused_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Between two looks; rates are of the whole cluster and per second."""

    steps_per_s: float
    """Of one shard."""
    hidden_bytes_per_s: float
    trained_rows_per_s: float
    dropped_share: float
    steps_per_letter: float
    trainer_busy: float
    """Share of its time that a trainer spends on letters, by its clock."""
    trainer_processor: float
    """Processor time of a trainer's process per second."""
    publications_per_s: float
    publication_bytes_per_s: float
    lag_mean: float
    lag_median: float
    lag_95: float
    """Decode steps that weights are behind, the present one included."""
    lag_s_median: float
    lag_s_95: float
    exchange_time: float
    """Share of a shard's time that its exchange takes."""
    object_store_bytes: float
    """Mean."""
    driver_bytes: float
    router_calls_per_s: float
    unit_wait_s: float
    """Of a unit for a seat, mean."""
    machine_busy: float
    """Share of all processors of this machine, whoever used them."""
    seconds: float
    account: Account


class UnitCallers:
    """Asks for units without end, `callers` at a time. A Ray actor, as pipelines.generation.GenerateSamples is."""

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
            samples = await self._pool.generate(unit)
            if samples:
                self._waits.append(time.monotonic() - started - max(sample.generation_seconds for sample in samples))
            self._returned_again += unit.unit_id in self._returned
            self._returned.add(unit.unit_id)

    def _next_unit(self) -> WorkUnit:
        self._asked += 1
        name = f"p{next(self._numbers)}"
        indices = tuple(range(self._config.samples))
        return WorkUnit(unit_id=f"{name}#0", problem_id=name, prompt=name, sample_indices=indices, seeds=indices)


class SimulatedShardActor(ShardActor):
    """A ShardActor around a SimulatedShard."""

    def __init__(self, config: SimulatedShardConfig, *, name: str) -> None:
        # In turns: 64 processes that import torch at the same time would take longer, and nobody would see how far they are.
        with start_turn(ray.get_runtime_context().get_actor_id()):
            from actors.simulated_shard import SimulatedShard

            self._simulated = SimulatedShard(config, name=name)
            self._be(self._simulated)

    async def observe(self) -> "ShardObservation":
        """See SimulatedShard.observe."""
        return self._simulated.observe()

    async def finish(self) -> None:
        """See SimulatedShard.finish."""
        await self._simulated.finish()


class SimulatedFleet(Fleet):
    """Simulated shards, and real trainers."""

    shard_class = SimulatedShardActor


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """At everything, at one moment."""

    at: float
    shards: list["ShardObservation"]
    trainer: TrainerStats
    trainer_processor_s: float
    units: UnitObservation


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """A simulation that runs."""

    config: SimulationConfig
    fleet: SimulatedFleet
    callers: ActorHandle
    trainer_pids: list[int]

    def look(self) -> Look:
        """At everything."""
        trainer = self.fleet.trainer_stats()
        assert trainer is not None
        times = [psutil.Process(pid).cpu_times() for pid in self.trainer_pids]
        return Look(
            at=time.monotonic(),
            shards=ray.get([shard.observe.remote() for shard in self.fleet.shards]),
            trainer=trainer,
            trainer_processor_s=sum(spent.user + spent.system for spent in times),
            units=ray.get(self.callers.observe.remote()),
        )

    def settle(self) -> Account:
        """End every unit, and wait until every row is told of."""
        finishing = [shard.finish.remote() for shard in self.fleet.shards]
        ray.get([self.callers.stop.remote(), *finishing])
        deadline = time.monotonic() + SETTLE_S
        while True:
            account = account_of(self.look())
            if account.waiting_rows == account.rows_under_way == 0 or time.monotonic() > deadline:
                return account
            time.sleep(LOOK_S)


def simulate(config: SimulationConfig, *, tell: Callable[[str], None]) -> Measured:
    """Run and measure. Needs a Ray that is up. Raises EngineStartError if shards cannot start."""
    tell(f"starting {config.shards} simulated shard(s) and {config.trainers} trainer(s) ...")
    with SimulatedFleet(
        SimulatedShardConfig.of(config), num_shards=config.shards, num_trainers=config.trainers
    ) as fleet:
        router = start_router(
            fleet.shards, fleet.trainers, units_per_shard=QUEUED_BATCHES * config.prompts, spill=False
        )
        callers = ray.remote(UnitCallers).options(num_cpus=0, max_concurrency=CALLS_AT_A_TIME).remote(router, config)
        try:
            pids = ray.get([trainer.__ray_call__.remote(lambda _: os.getpid()) for trainer in fleet.trainers])
            ray.get(callers.start.remote())
            simulation = Simulation(config, fleet, callers, pids)
            tell(f"warming up for {config.warmup_s:g} s ...")
            time.sleep(config.warmup_s)
            before = simulation.look()
            psutil.cpu_percent()
            stored = list(stored_bytes(config.seconds, tell))
            machine_busy = psutil.cpu_percent() / 100
            after = simulation.look()
            tell("waiting for the last letters ...")
            return measure(config, before, after, stored, machine_busy, simulation.settle())
        finally:
            ray.kill(callers)
            ray.kill(router)


def stored_bytes(seconds: float, tell: Callable[[str], None]) -> Iterator[float]:
    """Bytes in use of the object store, by Ray's own count, now and then for so long."""
    total = ray.cluster_resources()["object_store_memory"]
    started, told = time.monotonic(), 0.0
    while (passed := time.monotonic() - started) < seconds:
        yield total - ray.available_resources().get("object_store_memory", 0.0)
        if passed >= told:
            tell(f"measuring: {passed:.0f} of {seconds:.0f} s")
            told += 10.0
        time.sleep(LOOK_S)


def account_of(look: Look) -> Account:
    """Totals since the start."""
    exchanges = [shard.exchange for shard in look.shards]
    return Account(
        units_asked=look.units.asked,
        units_returned=look.units.returned,
        units_returned_again=look.units.returned_again,
        drawn_rows=sum(shard.rows for shard in look.shards),
        sent_rows=sum(exchange.sent_rows for exchange in exchanges),
        dropped_rows=sum(exchange.dropped_rows for exchange in exchanges),
        lost_rows=sum(exchange.lost_rows for exchange in exchanges),
        trained_rows=look.trainer.trained_rows,
        refused_rows=look.trainer.refused_rows,
    )


def measure(
    config: SimulationConfig, before: Look, after: Look, stored: list[float], machine_busy: float, account: Account
) -> Measured:
    """What happened between two looks."""
    seconds, then, now = after.at - before.at, account_of(before), account_of(after)

    def of_shards(count: Callable[["ShardObservation"], float]) -> float:
        return sum(map(count, after.shards)) - sum(map(count, before.shards))

    steps = of_shards(lambda shard: shard.steps)
    drawn, dropped = now.drawn_rows - then.drawn_rows, now.dropped_rows - then.dropped_rows
    letters = of_shards(lambda shard: shard.exchange.letters)
    lags = np.concatenate([shard.lag_steps for shard in after.shards])
    lags_s = np.concatenate([shard.lag_s for shard in after.shards])
    busy_s = after.trainer.busy_seconds - before.trainer.busy_seconds
    calls = (now.units_asked - then.units_asked) + (now.units_returned - then.units_returned)
    return Measured(
        steps_per_s=steps / seconds / config.shards,
        hidden_bytes_per_s=of_shards(lambda shard: shard.exchange.sent_bytes) / seconds,
        trained_rows_per_s=(now.trained_rows - then.trained_rows) / seconds,
        dropped_share=dropped / drawn,
        steps_per_letter=(now.sent_rows - then.sent_rows) / letters / config.inputs.rows / config.inputs.part,
        trainer_busy=busy_s / seconds / config.trainers,
        trainer_processor=(after.trainer_processor_s - before.trainer_processor_s) / seconds / config.trainers,
        publications_per_s=(after.trainer.publications - before.trainer.publications) / seconds,
        publication_bytes_per_s=(after.trainer.published_bytes - before.trainer.published_bytes) / seconds,
        lag_mean=float(lags.mean()),
        lag_median=float(np.median(lags)),
        lag_95=float(np.percentile(lags, 95)),
        lag_s_median=float(np.median(lags_s)),
        lag_s_95=float(np.percentile(lags_s, 95)),
        exchange_time=of_shards(lambda shard: shard.exchange.rows_s + shard.exchange.weights_s)
        / seconds
        / config.shards,
        object_store_bytes=float(np.mean(stored)),
        driver_bytes=float(psutil.Process().memory_info().rss),
        router_calls_per_s=calls / seconds,
        unit_wait_s=float(np.mean(after.units.waits_s)) if after.units.waits_s else 0.0,
        machine_busy=machine_busy,
        seconds=seconds,
        account=account,
    )
