"""Which shard generates which work unit, and what happens to a unit whose shard died.

    ShardPool.generate(unit) --acquire--> ShardRouter         waits until a live shard has room
          |                                                   a shard is live once it answers `join`,
          +--generate(unit)--> shard                          until a call to it fails because it is lost
          +--release, or report_lost--> ShardRouter

Promise: a unit is generated once, by one shard, or fails with the reason. The units of a shard that died wait only until another shard, or
the same one after its restart, is live. A unit that was running on `attempts` engines that died is given up, because it may be what kills
them; its last attempt is exclusive, so that no unit is blamed for another.
"""

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from actors.errors import SHARD_LOST, EngineFailed, NoShardLeft, UnitGivenUp, last_line
from actors.shards.placement import drivers_node
from actors.shards.shard_loads import ShardLoads
from actors.types import RouterCounts, Sample, WorkUnit
from actors.warning_log import WarningLog

RETRY_S = 1.0
"""Between two calls of `join` to a shard that does not answer."""
MAX_JOIN_FAILURES = 5
"""Failures of `join` in a row after which a shard is dead for good. Not the first: Ray may report an actor dead for a moment while it
decides to restart it."""
CALLS_AT_A_TIME = 10_000
"""Concurrent calls of the router: nearly all of them wait for a shard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """An actor that acquires leases. Ray restarts an actor under the same id: the units of its former incarnation are lost."""

    actor: str
    incarnation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to run one work unit on a shard, until it is released or the shard is lost."""

    number: int
    """Unique in a router."""
    caller: Caller
    shard: int
    handle: ActorHandle
    exclusive: bool
    """True if the shard runs no other unit meanwhile."""


@dataclass(slots=True)
class KnownShard:
    """What the router knows of a shard."""

    handle: ActorHandle
    incarnation: str = ""
    """Of its process; empty before it joined for the first time."""
    death: str | None = None
    """Why it will not come back; None if it may."""


class ShardRouter:
    """Knows the live shards and what each of them runs. One small Ray actor per session."""

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
        self._warnings = WarningLog("router")

    async def add(self, shard: ActorHandle) -> None:
        """Add a shard, which is live once it answers `join`."""
        self._shards.append(KnownShard(shard))
        self._start_joining(self._loads.add())

    async def register_caller(self, caller: Caller) -> None:
        """A caller starts. Leases of its former incarnation are released: Ray Data gives the same units to the new one."""
        self._incarnations[caller.actor] = caller.incarnation
        for lease in [lease for lease in self._leases.values() if lease.caller.actor == caller.actor]:
            self._run_again += 1
            await self.release(lease)

    async def acquire(self, problem_id: str, caller: Caller, *, exclusive: bool) -> Lease:
        """A lease for a unit of this problem; waits for it. Raises NoShardLeft."""
        async with self._changed:
            shard = await (self._acquire_exclusive(caller) if exclusive else self._acquire_shared(problem_id, caller))
        handle = self._shards[shard].handle
        lease = Lease(number=next(self._numbers), caller=caller, shard=shard, handle=handle, exclusive=exclusive)
        self._leases[lease.number] = lease
        return lease

    async def release(self, lease: Lease) -> None:
        """A unit is finished."""
        if self._leases.pop(lease.number, None) is not None:
            self._loads.release(lease.shard, exclusive=lease.exclusive)
            await self._notify_change()

    async def report_lost(self, lease: Lease, reason: str) -> None:
        """A call failed for a reason that is the shard's: the shard is not live until it answers `join` again."""
        self._run_again += 1
        if lease.number not in self._leases:
            return  # another unit of that shard reported it first
        self._warnings.record("shard_lost", f"shard-{lease.shard} was lost and its units run again: {reason}")
        self._loads.set_lost(lease.shard)
        self._leases = {number: held for number, held in self._leases.items() if held.shard != lease.shard}
        self._start_joining(lease.shard)
        await self._notify_change()

    async def cancel(self, problem_id: str) -> None:
        """Abort the samples of a problem on every shard, now and later; shards that join later are told too."""
        self._cancelled.append(problem_id)
        for shard in self._shards:
            shard.handle.cancel.remote(problem_id)

    async def counts(self) -> RouterCounts:
        """Counters and warnings so far."""
        return RouterCounts(
            shards=len(self._shards),
            live_shards=self._loads.num_live(),
            shard_restarts=self._restarts,
            units_run_again=self._run_again,
            warnings=self._warnings.warnings(),
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
            except (
                BaseException
            ):  # cancellation of the call too: a reservation nobody waits for would keep the shard idle
                self._loads.drop_reservation(shard)
                raise

    async def _wait(self, caller: Caller) -> None:
        """Wait for a change. Raises NoShardLeft if there will be none, and RuntimeError in a call of a former incarnation of the caller."""
        deaths = [shard.death for shard in self._shards if shard.death is not None]
        if len(deaths) == len(self._shards):
            raise NoShardLeft(
                f"no shard is left; the last one died with: {deaths[-1] if deaths else 'none was started'}"
            )
        await self._changed.wait()
        if self._incarnations[caller.actor] != caller.incarnation:
            raise RuntimeError(f"{caller} was started again")

    async def _notify_change(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _start_joining(self, index: int) -> None:
        task = asyncio.get_running_loop().create_task(self._join(index))
        self._tasks.add(task)  # asyncio holds tasks only weakly: without this one may be collected while it runs
        task.add_done_callback(self._tasks.discard)

    async def _join(self, index: int) -> None:
        shard, failures = self._shards[index], 0
        while failures < MAX_JOIN_FAILURES:
            try:
                incarnation: str = await shard.handle.join.remote(self._trainers)
            except RayError as error:
                # The error boundary: a shard that does not answer may be restarting, and is called again. It is given up if it is reported
                # dead, or if `join` itself raises (a RayTaskError), each time. EngineFailed is raised only until the process has ended.
                is_final = isinstance(error, ActorDiedError | RayTaskError) and not isinstance(error, EngineFailed)
                failures = failures + 1 if is_final else 0
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
            self._warnings.record("shard_died", f"shard-{index} is dead for good: {reason}")
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
    """Generates units on whichever shards are live. Used in an actor, by whose id the router knows the caller."""

    def __init__(self, router: ActorHandle, *, attempts: int) -> None:
        """`attempts`: engines that may die while they run a unit before the unit is given up."""
        self._router = router
        self._attempts = attempts
        self._caller = Caller(actor=ray.get_runtime_context().get_actor_id() or "driver", incarnation=uuid.uuid4().hex)
        ray.get(router.register_caller.remote(self._caller))

    async def generate(self, unit: WorkUnit) -> list[Sample]:
        """Generate the samples of a unit. Raises ValueError if the model cannot take it, UnitGivenUp and NoShardLeft."""
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
                # ValueError of this unit, or cancellation: the shard is live, so its lease is released. Not awaited: nothing depends on it.
                self._router.release.remote(lease)
                raise
            else:
                self._router.release.remote(lease)
                return samples
        raise UnitGivenUp(
            f"{self._attempts} engine(s) died while they ran this work unit, the last of them with no other unit: {reason}"
        )
