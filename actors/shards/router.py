"""Which shard generates which work unit, and what happens to a unit whose shard died.

    ShardPool.generate(unit) --acquire--> ShardRouter         waits until a live shard has room
          |                                                   a shard is live once it answers `join`,
          +--generate(unit)--> shard: sample, sample, ...     until a call to it fails because it is lost
          +--release, or report_lost--> ShardRouter

Promise: a sample is generated once, by one shard, or fails with the reason. Samples that came from a shard that died stay; the others of
its units wait only until another shard, or the same one after its restart, is live. A unit that was running on `attempts` engines that died
is given up, because it may be what kills them; its last attempt is exclusive, so that no unit is blamed for another.
"""

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from actors.errors import SHARD_LOST, EngineFailed, NoShardLeft, UnitGivenUp, last_line
from actors.names import actor_name, shard_name
from actors.shards.placement import drivers_node
from actors.shards.shard_loads import ShardLoads
from actors.types import RouterCounts, Sample, WorkUnit
from actors.warning_log import WarningLog

RETRY_S = 1.0
"""Between two calls of `join` to a shard that does not answer."""
MAX_JOIN_FAILURES = 5
"""Failures of `join` in a row after which a shard is dead for good. Not the first: Ray may report an actor dead for a moment while it
decides to restart it."""
CHECKS_PER_STALL = 4
"""Times that a shard is asked for its tokens within the time after which it counts as stalled."""
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
    name: str
    incarnation: str = ""
    """Of its process; empty before it joined for the first time."""
    death: str | None = None
    """Why it will not come back; None if it may."""


class ShardRouter:
    """Knows the live shards and what each of them runs. One small Ray actor per session."""

    def __init__(
        self, trainers: Sequence[ActorHandle], *, units_per_shard: int, spread: bool, stall_s: float = 0.0
    ) -> None:
        """`stall_s`: seconds without a token after which a shard with samples is killed, and restarted by Ray; 0 for never."""
        self._trainers = list(trainers)
        self._loads = ShardLoads(units_per_shard=units_per_shard, spread=spread)
        self._shards: list[KnownShard] = []
        self._incarnations: dict[str, str] = {}
        self._leases: dict[int, Lease] = {}
        self._numbers = itertools.count()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancelled: list[str] = []
        self._draining = asyncio.Event()
        self._stall_s = stall_s
        self._restarts = self._run_again = 0
        self._warnings = WarningLog("router")

    async def add(self, shard: ActorHandle, name: str) -> None:
        """Add a shard, which is live once it answers `join`. Its name comes with it: calls to an async actor may overtake each other."""
        self._shards.append(KnownShard(shard, name))
        index = self._loads.add()
        self._start(self._join(index))
        if self._stall_s:
            self._start(self._watch(index))

    async def register_caller(self, caller: Caller) -> None:
        """A caller starts. Leases of its former incarnation are released: Ray Data gives the same units to the new one."""
        self._incarnations[caller.actor] = caller.incarnation
        for lease in [lease for lease in self._leases.values() if lease.caller.actor == caller.actor]:
            self._run_again += 1
            await self.release(lease)

    async def acquire(self, problem_id: str, caller: Caller, *, exclusive: bool) -> Lease:
        """A lease for a unit of this problem; waits for it, for ever once the session drains. Raises NoShardLeft."""
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
        self._warnings.record(
            "shard_lost", f"{self._shards[lease.shard].name} was lost and its units run again: {reason}"
        )
        self._loads.set_lost(lease.shard)
        self._leases = {number: held for number, held in self._leases.items() if held.shard != lease.shard}
        self._start(self._join(lease.shard))
        await self._notify_change()

    async def cancel(self, problem_id: str) -> None:
        """Abort the samples of a problem on every shard, now and later; shards that join later are told too."""
        self._cancelled.append(problem_id)
        for shard in self._shards:
            shard.handle.cancel.remote(problem_id)

    async def end_round(self) -> None:
        """Tell the live shards that an extension round is over. One that is lost meanwhile loses its Distillers with it."""
        live = [shard.handle for index, shard in enumerate(self._shards) if self._loads.is_live(index)]
        await asyncio.gather(*(handle.end_round.remote() for handle in live), return_exceptions=True)

    async def drain(self) -> None:
        """The session is about to stop: units under way go on, and no other is begun."""
        self._draining.set()

    async def wait_for_drain(self) -> None:
        """Return when the session is about to stop."""
        await self._draining.wait()

    async def num_leases(self) -> int:
        """Work units under way."""
        return len(self._leases)

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
        while self._draining.is_set() or (index := self._loads.acquire(problem_id)) is None:
            await self._wait(caller)
        return index

    async def _acquire_exclusive(self, caller: Caller) -> int:
        while True:
            if self._draining.is_set() or (shard := self._loads.reserve()) is None:
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

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
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
            self._warnings.record("shard_died", f"{shard.name} is dead for good: {reason}")
        await self._notify_change()

    async def _watch(self, index: int) -> None:
        """Kill the shard if it generates no token while it has samples. The calls of its units then fail, as with any shard that died.

        Tokens are watched and not steps: an engine whose steps return without a token stands still as much as one whose step never returns.
        """
        handle, name = self._shards[index].handle, self._shards[index].name
        known, last_token = -1, time.monotonic()
        while True:
            await asyncio.sleep(self._stall_s / CHECKS_PER_STALL)
            if not (self._loads.is_live(index) and any(lease.shard == index for lease in self._leases.values())):
                last_token = time.monotonic()
                continue
            try:
                # A step that never returns may hold Python's lock, and with it the shard's event loop: no answer is an answer.
                activity = await asyncio.wait_for(handle.activity.remote(), timeout=self._stall_s)
            except TimeoutError:
                pass
            except RayError:
                continue  # it is lost already, which the calls of its units report
            else:
                if activity.tokens != known or not activity.running + activity.waiting:
                    known, last_token = activity.tokens, time.monotonic()
            if (seconds := time.monotonic() - last_token) >= self._stall_s:
                self._warnings.record(
                    "shard_stalled",
                    f"{name} generated no token for {seconds / 60:.1f} minutes with samples running; it was killed, and what it had "
                    "not finished is generated again",
                )
                ray.kill(handle, no_restart=False)
                last_token = time.monotonic()


def start_router(
    shards: Sequence[ActorHandle],
    trainers: Sequence[ActorHandle],
    *,
    units_per_shard: int,
    spread: bool,
    stall_s: float = 0.0,
) -> ActorHandle:
    """A router for these shards, in the order in which they were started; see ShardRouter."""
    router: ActorHandle = (
        ray.remote(ShardRouter)
        .options(
            name=actor_name("router"),
            num_cpus=0,
            max_concurrency=CALLS_AT_A_TIME,
            scheduling_strategy=drivers_node(),
        )
        .remote(list(trainers), units_per_shard=units_per_shard, spread=spread, stall_s=stall_s)
    )
    ray.get([router.add.remote(shard, shard_name(index)) for index, shard in enumerate(shards)])
    return router


class ShardPool:
    """Generates units on whichever shards are live. Used in an actor, by whose id the router knows the caller."""

    def __init__(self, router: ActorHandle, *, attempts: int) -> None:
        """`attempts`: engines that may die while they run a unit before the unit is given up."""
        self._router = router
        self._attempts = attempts
        self._caller = Caller(actor=ray.get_runtime_context().get_actor_id() or "driver", incarnation=uuid.uuid4().hex)
        ray.get(router.register_caller.remote(self._caller))

    async def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]:
        """Generate the samples of a unit; each comes when it is finished, in whatever order. What a lost shard has sent is kept, and
        another is asked for the rest. Raises ValueError if the model cannot take the unit, UnitGivenUp and NoShardLeft."""
        reason, done = "", set[int]()
        for attempt in range(1, self._attempts + 1):
            exclusive = attempt == self._attempts > 1
            lease: Lease = await self._router.acquire.remote(unit.problem_id, self._caller, exclusive=exclusive)
            try:
                async for reference in lease.handle.generate.remote(unit.without(done)):
                    sample: Sample = await reference
                    done.add(sample.sample_index)
                    yield sample
            except SHARD_LOST as error:
                reason = last_line(error)
                await self._router.report_lost.remote(lease, reason)
                if len(done) == len(unit.sample_indices):
                    return  # all that was lost is the word that this was all
            except BaseException:
                # ValueError of this unit, or cancellation: the shard is live, so its lease is released. Not awaited: nothing depends on it.
                self._router.release.remote(lease)
                raise
            else:
                self._router.release.remote(lease)
                return
        raise UnitGivenUp(
            f"{self._attempts} engine(s) died while they ran this work unit, the last of them with no other unit: {reason}"
        )
