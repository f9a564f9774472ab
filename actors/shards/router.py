"""Which shard draws which unit, and what becomes of a unit whose shard ended.

    ShardPool.generate(unit) --take--> ShardRouter            waits until a live shard has room
          |                                                   puts shards in the rotation once they answer `join`,
          +--generate(unit)--> shard                          and takes them out when a call tells that they are lost
          +--give_back, or lost--> ShardRouter

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
from actors.types import RotationCounts, Sample, WorkUnit

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""Between two questions to a shard that does not answer."""
DEAD_FOR_GOOD = 5
"""Answers in a row that say so; Ray may call an actor dead for a moment while it decides to start it again."""
CALLS_AT_A_TIME = 10_000
"""Calls the router holds at a time: nearly all of them wait for a shard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who takes units. Ray starts an actor that ended again under the same id: its former life's units are no more."""

    actor: str
    life: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Seat:
    """Room for one unit on a shard."""

    number: int
    """No two seats of a router have the same."""
    caller: Caller
    shard: int
    handle: ActorHandle
    alone: bool
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

    def __init__(self, trainers: Sequence[ActorHandle], *, units_per_shard: int, spill: bool) -> None:
        self._trainers = list(trainers)
        self._loads = ShardLoads(units_per_shard=units_per_shard, spill=spill)
        self._shards: list[KnownShard] = []
        self._lives: dict[str, str] = {}
        self._seats: dict[int, Seat] = {}
        self._numbers = itertools.count()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancelled: list[str] = []
        self._restarts = self._run_again = 0

    async def add(self, shard: ActorHandle) -> None:
        """Put a shard in the rotation, once it answers."""
        self._shards.append(KnownShard(shard))
        self._bring_up(self._loads.add())

    async def enter(self, caller: Caller) -> None:
        """A caller begins; what its former life had taken is free again, and comes again as new units."""
        self._lives[caller.actor] = caller.life
        for seat in [seat for seat in self._seats.values() if seat.caller.actor == caller.actor]:
            self._run_again += 1
            await self.give_back(seat)

    async def take(self, problem_id: str, caller: Caller, *, alone: bool) -> Seat:
        """Room for a unit of this problem; waits for it. Raises NoShardLeft."""
        async with self._changed:
            shard = await (self._take_alone(caller) if alone else self._take_any(problem_id, caller))
        handle = self._shards[shard].handle
        seat = Seat(number=next(self._numbers), caller=caller, shard=shard, handle=handle, alone=alone)
        self._seats[seat.number] = seat
        return seat

    async def give_back(self, seat: Seat) -> None:
        """A unit has ended."""
        if self._seats.pop(seat.number, None) is not None:
            self._loads.give_back(seat.shard, alone=seat.alone)
            await self._tell_of_change()

    async def lost(self, seat: Seat, reason: str) -> None:
        """A unit did not come back, for a reason that is the shard's: the shard leaves the rotation until it answers again."""
        self._run_again += 1
        if seat.number not in self._seats:
            return  # another unit of that shard told it first
        logger.warning("shard %d left the rotation: %s", seat.shard, reason)
        self._loads.set_lost(seat.shard)
        self._seats = {number: held for number, held in self._seats.items() if held.shard != seat.shard}
        self._bring_up(seat.shard)
        await self._tell_of_change()

    async def cancel(self, problem_id: str) -> None:
        """Have every shard abort the samples of a problem, now and later; a shard that joins later is told as well."""
        self._cancelled.append(problem_id)
        for shard in self._shards:
            shard.handle.cancel.remote(problem_id)

    async def counts(self) -> RotationCounts:
        """What has happened so far."""
        return RotationCounts(
            shards=len(self._shards),
            live_shards=self._loads.num_live(),
            shard_restarts=self._restarts,
            units_run_again=self._run_again,
        )

    async def _take_any(self, problem_id: str, caller: Caller) -> int:
        while (index := self._loads.take(problem_id)) is None:
            await self._wait(caller)
        return index

    async def _take_alone(self, caller: Caller) -> int:
        while True:
            if (shard := self._loads.reserve()) is None:
                await self._wait(caller)
                continue
            try:
                while self._loads.is_live(shard):
                    if self._loads.take_reserved(shard):
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
        if self._lives[caller.actor] != caller.life:
            raise RuntimeError(f"{caller} was started again")

    async def _tell_of_change(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _bring_up(self, index: int) -> None:
        task = asyncio.get_running_loop().create_task(self._join(index))
        self._tasks.add(task)  # asyncio itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    async def _join(self, index: int) -> None:
        shard, deaths = self._shards[index], 0
        while deaths < DEAD_FOR_GOOD:
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
        await self._tell_of_change()


def start_router(
    shards: Sequence[ActorHandle], trainers: Sequence[ActorHandle], *, units_per_shard: int, spill: bool
) -> ActorHandle:
    """A router for these shards."""
    router: ActorHandle = (
        ray.remote(ShardRouter)
        .options(num_cpus=0, max_concurrency=CALLS_AT_A_TIME, scheduling_strategy=drivers_node())
        .remote(list(trainers), units_per_shard=units_per_shard, spill=spill)
    )
    ray.get([router.add.remote(shard) for shard in shards])
    return router


class ShardPool:
    """Draws units on whichever shards are live. In an actor, whose id tells the router who asks."""

    def __init__(self, router: ActorHandle, *, attempts: int) -> None:
        """`attempts`: engines that may end with a unit under way before it is given up."""
        self._router = router
        self._attempts = attempts
        self._caller = Caller(actor=ray.get_runtime_context().get_actor_id() or "driver", life=uuid.uuid4().hex)
        ray.get(router.enter.remote(self._caller))

    async def generate(self, unit: WorkUnit) -> list[Sample]:
        """Draw the samples of a unit. Raises ValueError if the model cannot take it, UnitGivenUp and NoShardLeft."""
        reason = ""
        for attempt in range(1, self._attempts + 1):
            alone = attempt == self._attempts > 1
            seat: Seat = await self._router.take.remote(unit.problem_id, self._caller, alone=alone)
            try:
                samples: list[Sample] = await seat.handle.generate.remote(unit)
            except SHARD_LOST as error:
                reason = last_line(error)
                await self._router.lost.remote(seat, reason)
            except BaseException:
                self._router.give_back.remote(seat)
                raise
            else:
                self._router.give_back.remote(seat)
                return samples
        raise UnitGivenUp(
            f"{self._attempts} engine(s) ended while they drew this unit, the last of them with nothing else to do: {reason}"
        )
