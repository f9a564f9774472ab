"""The router and its callers against shards that end at random, in one process: a fake shard is a coroutine, and ends when told."""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError, RayTaskError

from actors.errors import NoShardLeft, UnitGivenUp
from actors.shards import router as router_module
from actors.shards.router import Caller, ShardPool, ShardRouter
from actors.types import RouterCounts, WorkUnit

UNITS_PER_SHARD = 3
GONE = ActorUnavailableError("ended", b"0" * 16)


class Calls:
    """A method as an actor handle has it."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self.remote = lambda *args, **named: asyncio.ensure_future(method(*args, **named))


class FakeShard:
    """Draws a unit in some milliseconds. A unit whose prompt is "poison" ends it; it is back after a while, as another incarnation."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._incarnation: str | None = "first"
        self._under_way: set[asyncio.Future[list[str]]] = set()
        self.most_under_way = 0
        self.join, self.generate = Calls(self._join), Calls(self._generate)

    def end(self) -> None:
        if self._incarnation is not None:
            self._incarnation = None
            for future in self._under_way:
                if not future.done():
                    future.set_exception(GONE)
            asyncio.get_running_loop().call_later(0.03, self._come_back)

    def _come_back(self) -> None:
        self._incarnation = uuid.uuid4().hex

    async def _join(self, trainers: list[object]) -> str:
        if self._incarnation is None:
            raise GONE
        return self._incarnation

    async def _generate(self, unit: WorkUnit) -> list[str]:
        if self._incarnation is None:
            raise GONE
        drawn: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._under_way.add(drawn)
        self.most_under_way = max(self.most_under_way, len(self._under_way))
        asyncio.get_running_loop().call_later(self._chance.uniform(0.002, 0.02), self._finish, unit, drawn)
        try:
            return await drawn
        finally:
            self._under_way.discard(drawn)

    def _finish(self, unit: WorkUnit, drawn: asyncio.Future[list[str]]) -> None:
        if unit.prompt == "poison" and not drawn.done():
            self.end()
        elif not drawn.done():
            drawn.set_result([unit.unit_id])


class LocalPool(ShardPool):
    """A ShardPool whose router is in this process."""

    def __init__(self, router: ShardRouter, *, attempts: int) -> None:
        self._router = self._attempts = self._caller = None  # type: ignore[assignment]
        for name in ("acquire", "release", "report_lost"):
            setattr(self, name, Calls(getattr(router, name)))
        self._router, self._attempts = self, attempts  # type: ignore[assignment]
        self._caller = Caller(actor="a", incarnation="1")


def units(poison: set[int]) -> list[WorkUnit]:
    return [
        WorkUnit(
            unit_id=f"u{i}",
            problem_id=f"p{i // 2}",
            prompt="poison" if i in poison else "fine",
            sample_indices=(i % 2,),
            seeds=(i,),
        )
        for i in range(30)
    ]


async def draw_all(seed: int, *, poison: set[int], shards: int, kills: int) -> tuple[list[Any], list[FakeShard]]:
    chance = random.Random(seed)
    router = ShardRouter([], units_per_shard=UNITS_PER_SHARD, spread=seed % 2 == 0)
    fakes = [FakeShard(chance) for _ in range(shards)]
    for fake in fakes:
        await router.add(fake)  # type: ignore[arg-type]
    pool = LocalPool(router, attempts=kills + 3)
    await router.register_caller(pool._caller)

    async def kill_at_random() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.01, 0.04))
            chance.choice(fakes).end()

    killing = asyncio.ensure_future(kill_at_random())
    drawing = asyncio.gather(*(pool.generate(unit) for unit in units(poison)), return_exceptions=True)
    results = await asyncio.wait_for(drawing, timeout=60)
    await killing
    return results, fakes


@pytest.fixture(autouse=True)
def ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "RETRY_S", 0.01)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_every_unit_comes_back_whatever_shards_end(seed: int, shards: int) -> None:
    results, fakes = asyncio.run(draw_all(seed, poison=set(), shards=shards, kills=4))
    assert results == [[f"u{i}"] for i in range(30)]
    assert max(fake.most_under_way for fake in fakes) <= UNITS_PER_SHARD


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_units_that_end_their_shards_are_given_up_and_no_other(seed: int, shards: int) -> None:
    poison = {4, 5, 21}
    results, _ = asyncio.run(draw_all(seed, poison=poison, shards=shards, kills=0))
    given_up = {index for index, result in enumerate(results) if isinstance(result, UnitGivenUp)}
    assert given_up == poison
    assert all(results[index] == [f"u{index}"] for index in range(30) if index not in poison)


class ShardThatCannotJoin(FakeShard):
    """Its process lives, and `join` raises."""

    async def _join(self, trainers: list[object]) -> str:
        raise RayTaskError("join", "ValueError: the model has 6 layers", ValueError("the model has 6 layers"))


def test_a_shard_that_cannot_join_is_given_up_with_its_reason() -> None:
    """Errors of `join` itself were taken for a shard that is being started again, and the run waited for ever."""

    async def ask() -> RouterCounts:
        router = ShardRouter([], units_per_shard=1, spread=False)
        await router.add(ShardThatCannotJoin(random.Random(0)))  # type: ignore[arg-type]
        pool = LocalPool(router, attempts=3)
        await router.register_caller(pool._caller)
        with pytest.raises(NoShardLeft, match="the model has 6 layers"):
            await asyncio.wait_for(pool.generate(units(set())[0]), timeout=5)
        return await router.counts()

    [warning] = asyncio.run(ask()).warnings
    assert (warning.source, warning.kind) == ("router", "shard_died") and "the model has 6 layers" in warning.message


def test_a_shard_that_was_lost_is_a_warning_of_the_router() -> None:
    async def lose_one() -> RouterCounts:
        router = ShardRouter([], units_per_shard=1, spread=False)
        shard = FakeShard(random.Random(0))
        await router.add(shard)  # type: ignore[arg-type]
        pool = LocalPool(router, attempts=3)
        await router.register_caller(pool._caller)
        await pool.generate(units(set())[0])
        shard.end()
        await pool.generate(units(set())[1])
        return await router.counts()

    [warning] = asyncio.run(lose_one()).warnings
    assert (warning.kind, warning.count) == ("shard_lost", 1) and "shard-0" in warning.message
