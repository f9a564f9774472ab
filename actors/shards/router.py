"""Which shard draws which unit, and what becomes of a unit whose shard ended.

    ShardPool.generate(unit) --acquire--> ShardRouter         waits until a live shard has room
          |                                                   puts shards in the rotation once they answer `join`,
          +--generate(unit)--> shard                          and takes them out when a call tells that they are lost
          +--release, or report_lost--> ShardRouter

Promise: a unit comes back drawn once, by one shard, or with the reason. A shard that ends takes its units with it only until another
(or the same, started again) is live. A unit under way on `attempts` engines that ended is given up, since it may be what ends them; its
last attempt has an engine to itself, so that no unit is blamed for another.
"""

import asyncio
import itertools
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError

from actors.errors import SHARD_LOST, NoShardLeft, UnitGivenUp, last_line
from actors.shards.placement import drivers_node
from actors.shards.shard_loads import ShardLoads
from actors.types import RouterCounts, Sample, WorkUnit

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""Between two questions to a shard that does not answer."""
MAX_DEATH_REPORTS = 5
"""Answers in a row that say so; Ray may call an actor dead for a moment while it decides to start it again."""
CALLS_AT_A_TIME = 10_000
"""Calls the router holds at a time: nearly all of them wait for a shard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who takes units. Ray starts an actor that ended again under the same id: its former life's units are no more."""

    actor: str
    incarnation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Room for one unit on a shard."""

    number: int
    """No two seats of a router have the same."""
    caller: Caller
    shard: int
    handle: ActorHandle
    exclusive: bool
    """True if the shard has nothing else under way."""


@dataclass(slots=True)
class KnownShard:
    """What the router knows of a shard."""

    handle: ActorHandle
    incarnation: str = ""
    """Of its process; empty before it first joined."""
    death: str | None = None
    """Why it will not come back; None if it may."""


class ShardRouter:
    """Knows the shards in the rotation and what each has under way. One small Ray actor per session."""

    def __init__(self, trainers: Sequence[ActorHandle], *, units_per_shard: int, spread: bool) -> None:
        self._trainers = list(trainers)
        self._loads = ShardLoads(units_per_shard=units_per_shard, spread=spread)
        self._shards: list[KnownShard] = []
        self._incarnations: dict[str, str] = {}
        self._leases: dict[int, Lease] = {}
        self._numbers = itertools.count()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancelled: list[str] = []
        self._restarts = self._run_again = 0

    async def add(self, shard: ActorHandle) -> None:
        """Put a shard in the rotation, once it answers."""
        self._shards.append(KnownShard(shard))
        self._start_joining(self._loads.add())

    async def register_caller(self, caller: Caller) -> None:
        """A caller begins; what its former life had taken is free again, and comes again as new units."""
        self._incarnations[caller.actor] = caller.incarnation
        for lease in [lease for lease in self._leases.values() if lease.caller.actor == caller.actor]:
            self._run_again += 1
            await self.release(lease)

    async def acquire(self, problem_id: str, caller: Caller, *, exclusive: bool) -> Lease:
        """Room for a unit of this problem; waits for it. Raises NoShardLeft."""
        async with self._changed:
            shard = await (self._acquire_exclusive(caller) if exclusive else self._acquire_shared(problem_id, caller))
        handle = self._shards[shard].handle
        lease = Lease(number=next(self._numbers), caller=caller, shard=shard, handle=handle, exclusive=exclusive)
        self._leases[lease.number] = lease
        return lease

    async def release(self, lease: Lease) -> None:
        """A unit has ended."""
        if self._leases.pop(lease.number, None) is not None:
            self._loads.release(lease.shard, exclusive=lease.exclusive)
            await self._notify_change()

    async def report_lost(self, lease: Lease, reason: str) -> None:
        """A unit did not come back, for a reason that is the shard's: the shard leaves the rotation until it answers again."""
        self._run_again += 1
        if lease.number not in self._leases:
            return  # another unit of that shard told it first
        logger.warning("shard %d left the rotation: %s", lease.shard, reason)
        self._loads.set_lost(lease.shard)
        self._leases = {number: held for number, held in self._leases.items() if held.shard != lease.shard}
        self._start_joining(lease.shard)
        await self._notify_change()

    async def cancel(self, problem_id: str) -> None:
        """Have every shard abort the samples of a problem, now and later; a shard that joins later is told as well."""
        self._cancelled.append(problem_id)
        for shard in self._shards:
            shard.handle.cancel.remote(problem_id)

    async def counts(self) -> RouterCounts:
        """What has happened so far."""
        return RouterCounts(
            shards=len(self._shards),
            live_shards=self._loads.num_live(),
            shard_restarts=self._restarts,
            units_run_again=self._run_again,
        )

    async def _acquire_shared(self, problem_id: str, caller: Caller) -> int:
        while (index := self._loads.acquire(problem_id)) is None:
            await self._wait(caller)
        return index

    async def _acquire_exclusive(self, caller: Caller) -> int:
        while True:
            if (shard := self._loads.reserve()) is None:
                await self._wait(caller)
                continue
            try:
                while self._loads.is_live(shard):
                    if self._loads.acquire_reserved(shard):
                        return shard
                    await self._wait(caller)
            except BaseException:
                self._loads.drop_reservation(shard)
                raise

    async def _wait(self, caller: Caller) -> None:
        """Until something changed. Raises NoShardLeft if nothing ever will, and RuntimeError to a caller that is no more."""
        deaths = [shard.death for shard in self._shards if shard.death is not None]
        if len(deaths) == len(self._shards):
            raise NoShardLeft(
                f"no shard is left; the last one ended with: {deaths[-1] if deaths else 'none was started'}"
            )
        await self._changed.wait()
        if self._incarnations[caller.actor] != caller.incarnation:
            raise RuntimeError(f"{caller} was started again")

    async def _notify_change(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _start_joining(self, index: int) -> None:
        task = asyncio.get_running_loop().create_task(self._join(index))
        self._tasks.add(task)  # asyncio itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    async def _join(self, index: int) -> None:
        shard, deaths = self._shards[index], 0
        while deaths < MAX_DEATH_REPORTS:
            try:
                incarnation: str = await shard.handle.join.remote(self._trainers)
            except RayError as error:
                # The named boundary: a shard that does not answer is asked again, unless it is dead for good.
                deaths = deaths + 1 if isinstance(error, ActorDiedError) else 0
                reason = last_line(error)
                await asyncio.sleep(RETRY_S)
            else:
                self._restarts += shard.incarnation not in ("", incarnation)
                shard.incarnation = incarnation
                for problem_id in self._cancelled:
                    shard.handle.cancel.remote(problem_id)
                self._loads.set_live(index)
                break
        else:
            shard.death = reason
            logger.error("shard %d ended for good: %s", index, reason)
        await self._notify_change()


def start_router(
    shards: Sequence[ActorHandle], trainers: Sequence[ActorHandle], *, units_per_shard: int, spread: bool
) -> ActorHandle:
    """A router for these shards."""
    router: ActorHandle = (
        ray.remote(ShardRouter)
        .options(num_cpus=0, max_concurrency=CALLS_AT_A_TIME, scheduling_strategy=drivers_node())
        .remote(list(trainers), units_per_shard=units_per_shard, spread=spread)
    )
    ray.get([router.add.remote(shard) for shard in shards])
    return router


class ShardPool:
    """Draws units on whichever shards are live. In an actor, whose id tells the router who asks."""

    def __init__(self, router: ActorHandle, *, attempts: int) -> None:
        """`attempts`: engines that may end with a unit under way before it is given up."""
        self._router = router
        self._attempts = attempts
        self._caller = Caller(actor=ray.get_runtime_context().get_actor_id() or "driver", incarnation=uuid.uuid4().hex)
        ray.get(router.register_caller.remote(self._caller))

    async def generate(self, unit: WorkUnit) -> list[Sample]:
        """Draw the samples of a unit. Raises ValueError if the model cannot take it, UnitGivenUp and NoShardLeft."""
        reason = ""
        for attempt in range(1, self._attempts + 1):
            exclusive = attempt == self._attempts > 1
            lease: Lease = await self._router.acquire.remote(unit.problem_id, self._caller, exclusive=exclusive)
            try:
                samples: list[Sample] = await lease.handle.generate.remote(unit)
            except SHARD_LOST as error:
                reason = last_line(error)
                await self._router.report_lost.remote(lease, reason)
            except BaseException:
                self._router.release.remote(lease)
                raise
            else:
                self._router.release.remote(lease)
                return samples
        raise UnitGivenUp(
            f"{self._attempts} engine(s) ended while they drew this unit, the last of them with nothing else to do: {reason}"
        )
