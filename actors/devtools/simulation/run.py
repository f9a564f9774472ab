"""Measures a real exchange between simulated engines: real shard actors, router, send queues, messages and trainers; only the
engines are simulated.

    UnitCallers (actor): ShardPool -> ShardRouter -> SimulatedShardActor x N -> messages -> DistillerTrainer x M
    this process: waits, takes a snapshot of all counters, twice, and reads the use of Ray's object store in between

Everything is counted between two snapshots, but for `Account`, which is of the whole simulation: after the last work unit every generated
row must be accounted for.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import ray
from ray.actor import ActorHandle

from actors.devtools.simulation.callers import UnitCallers
from actors.devtools.simulation.config import QUEUED_BATCHES, SimulatedShardConfig, SimulationConfig
from actors.devtools.simulation.measures import Account, Measured, Snapshot, account_of, measure
from actors.shards.fleet import Fleet
from actors.shards.router import start_router
from actors.shards.shard_actor import ShardActor
from actors.shards.start_lock import engine_start_lock

if TYPE_CHECKING:
    from actors.devtools.simulation.shard import ShardObservation

POLL_S = 0.2
"""Between two readings of the object store."""
SETTLE_S = 60.0
"""Longest wait, after the last unit, for the last messages to be answered."""
CALLS_AT_A_TIME = 4


class SimulatedShardActor(ShardActor):
    """A ShardActor around a SimulatedShard."""

    def __init__(self, config: SimulatedShardConfig, *, name: str) -> None:
        # In turns: 64 processes that import torch at the same time take longer together, and show no progress on the way.
        with engine_start_lock(ray.get_runtime_context().get_actor_id()):
            from actors.devtools.simulation.shard import SimulatedShard

            self._simulated = SimulatedShard(config, name=name)
            self._serve(self._simulated)

    async def observe(self) -> "ShardObservation":
        """See SimulatedShard.observe."""
        return self._simulated.observe()

    async def finish(self) -> None:
        """See SimulatedShard.finish."""
        await self._simulated.finish()


class SimulatedFleet(Fleet):
    """Simulated shards, and real trainers."""

    shard_class = SimulatedShardActor


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """A simulation that runs."""

    config: SimulationConfig
    fleet: SimulatedFleet
    callers: ActorHandle
    trainer_pids: list[int]

    def snapshot(self) -> Snapshot:
        """Of all counters."""
        trainer = self.fleet.trainer_stats()
        assert trainer is not None
        times = [psutil.Process(pid).cpu_times() for pid in self.trainer_pids]
        return Snapshot(
            at=time.monotonic(),
            shards=ray.get([shard.observe.remote() for shard in self.fleet.shards]),
            trainer=trainer,
            trainer_processor_s=sum(spent.user + spent.system for spent in times),
            units=ray.get(self.callers.observe.remote()),
        )

    def settle(self) -> Account:
        """End every unit, and wait until every row is accounted for."""
        finishing = [shard.finish.remote() for shard in self.fleet.shards]
        ray.get([self.callers.stop.remote(), *finishing])
        deadline = time.monotonic() + SETTLE_S
        while True:
            account = account_of(self.snapshot())
            if account.waiting_rows == account.rows_under_way == 0 or time.monotonic() > deadline:
                return account
            time.sleep(POLL_S)


def simulate(config: SimulationConfig, *, log: Callable[[str], None]) -> Measured:
    """Run and measure. Needs a Ray that is up. Raises EngineStartError if shards cannot start."""
    log(f"starting {config.shards} simulated shard(s) and {config.trainers} trainer(s) ...")
    with SimulatedFleet(
        SimulatedShardConfig.of(config), num_shards=config.shards, num_trainers=config.trainers
    ) as fleet:
        router = start_router(
            fleet.shards, fleet.trainers, units_per_shard=QUEUED_BATCHES * config.prompts, spread=False
        )
        callers = ray.remote(UnitCallers).options(num_cpus=0, max_concurrency=CALLS_AT_A_TIME).remote(router, config)
        try:
            pids = ray.get([trainer.__ray_call__.remote(lambda _: os.getpid()) for trainer in fleet.trainers])
            ray.get(callers.start.remote())
            simulation = Simulation(config, fleet, callers, pids)
            log(f"warming up for {config.warmup_s:g} s ...")
            time.sleep(config.warmup_s)
            before = simulation.snapshot()
            psutil.cpu_percent()
            stored = list(stored_bytes(config.seconds, log))
            machine_busy = psutil.cpu_percent() / 100
            after = simulation.snapshot()
            log("waiting for the last messages ...")
            return measure(config, before, after, stored, machine_busy, simulation.settle())
        finally:
            ray.kill(callers)
            ray.kill(router)


def stored_bytes(seconds: float, log: Callable[[str], None]) -> Iterator[float]:
    """Bytes in use of the object store, by Ray's own count, now and then for so long."""
    total = ray.cluster_resources()["object_store_memory"]
    started, logged = time.monotonic(), 0.0
    while (passed := time.monotonic() - started) < seconds:
        yield total - ray.available_resources().get("object_store_memory", 0.0)
        if passed >= logged:
            log(f"measuring: {passed:.0f} of {seconds:.0f} s")
            logged += 10.0
        time.sleep(POLL_S)
