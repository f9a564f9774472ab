"""A shard actor takes units only once its trainers are known to its engine."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest
from ray.actor import ActorHandle

from actors.errors import NotJoined
from actors.shards.shard_actor import Shard, ShardActor
from actors.types import Sample, WorkUnit

UNIT = WorkUnit(unit_id="u", problem_id="p", prompt="", sample_indices=(), seeds=())
TRAINERS = cast(Sequence[ActorHandle], ["trainer"])


class ShardWithoutMemory:
    """Its first attempt to use trainers fails; each takes a while."""

    def __init__(self, *, failures: int) -> None:
        self.failures = failures
        self.attempts = 0

    async def use_trainers(self, trainers: Sequence[ActorHandle]) -> None:
        self.attempts += 1
        await asyncio.sleep(0.01)
        if self.attempts <= self.failures:
            raise MemoryError("no room for the send queue")

    async def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]:
        for _ in unit.sample_indices:
            raise AssertionError("there is no engine")
            yield


class ActorOf(ShardActor):
    """A ShardActor around a given shard."""

    def __init__(self, shard: ShardWithoutMemory) -> None:
        self._serve(cast(Shard, shard))


async def generated(actor: ShardActor) -> list[Sample]:
    return [sample async for sample in actor.generate(UNIT)]


def test_a_shard_whose_trainers_could_not_be_used_has_not_joined() -> None:
    async def join_twice() -> None:
        shard = ShardWithoutMemory(failures=1)
        actor = ActorOf(shard)
        with pytest.raises(MemoryError):
            await actor.join(TRAINERS)
        with pytest.raises(NotJoined):
            await generated(actor)
        await actor.join(TRAINERS)
        assert await generated(actor) == [] and shard.attempts == 2

    asyncio.run(join_twice())


def test_two_calls_to_join_at_the_same_time_use_the_trainers_once() -> None:
    async def join_together() -> None:
        shard = ShardWithoutMemory(failures=0)
        actor = ActorOf(shard)
        first, second = await asyncio.gather(actor.join(TRAINERS), actor.join(TRAINERS))
        assert first == second and shard.attempts == 1

    asyncio.run(join_together())
