"""The router and its callers against shards that end at random, in one process: a fake shard is a coroutine, and ends when told."""

import asyncio
import math
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from ray.exceptions import ActorUnavailableError, RayTaskError

from actors.errors import NoShardLeft, UnitGivenUp
from actors.shards import router as router_module
from actors.shards.router import Caller, ShardPool, ShardRouter
from actors.types import RouterCounts, ShardActivity, WorkUnit

UNITS_PER_SHARD = 3
GONE = ActorUnavailableError("ended", b"0" * 16)


class Calls:
    """A method as an actor handle has it."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self.remote = lambda *args, **named: asyncio.ensure_future(method(*args, **named))


class FakeSample(NamedTuple):
    unit_id: str
    sample_index: int


class Streams:
    """A method that yields, as an actor handle has it: a generator of references, of which Ray's last one holds the error."""

    def __init__(self, method: Callable[..., AsyncIterator[Any]]) -> None:
        self._method = method

    async def remote(self, *args: Any) -> AsyncIterator[Awaitable[Any]]:
        try:
            async for item in self._method(*args):
                yield asyncio.sleep(0, item)
        except Exception as error:
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            yield failed


class FakeShard:
    """Draws a unit in some milliseconds. A unit whose prompt is "poison" ends it; it is back after a while, as another incarnation."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._incarnation: str | None = "first"
        self._under_way: set[asyncio.Future[None]] = set()
        self.most_under_way = 0
        self.finished: list[tuple[str, int]] = []
        self.join, self.generate = Calls(self._join), Streams(self._generate)

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

    async def _generate(self, unit: WorkUnit) -> AsyncIterator[FakeSample]:
        for index in unit.sample_indices:
            if self._incarnation is None:
                raise GONE
            drawn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._under_way.add(drawn)
            self.most_under_way = max(self.most_under_way, len(self._under_way))
            asyncio.get_running_loop().call_later(self._chance.uniform(0.001, 0.01), self._finish, unit, drawn)
            try:
                await drawn
            finally:
                self._under_way.discard(drawn)
            self.finished.append((unit.unit_id, index))
            yield FakeSample(unit.unit_id, index)

    def _finish(self, unit: WorkUnit, drawn: asyncio.Future[None]) -> None:
        if unit.prompt == "poison" and not drawn.done():
            self.end()
        elif not drawn.done():
            drawn.set_result(None)


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
            sample_indices=(2 * (i % 2), 2 * (i % 2) + 1),
            seeds=(2 * i, 2 * i + 1),
        )
        for i in range(30)
    ]


async def keys_of(pool: ShardPool, unit: WorkUnit) -> list[tuple[str, int]]:
    return [(sample.unit_id, sample.sample_index) async for sample in pool.generate(unit)]  # type: ignore[attr-defined]


def keys(unit: WorkUnit) -> list[tuple[str, int]]:
    return [(unit.unit_id, index) for index in unit.sample_indices]


async def draw_all(seed: int, *, poison: set[int], shards: int, kills: int) -> tuple[list[Any], list[FakeShard]]:
    chance = random.Random(seed)
    router = ShardRouter([], units_per_shard=UNITS_PER_SHARD, spread=seed % 2 == 0)
    fakes = [FakeShard(chance) for _ in range(shards)]
    for index, fake in enumerate(fakes):
        await router.add(fake, f"shard-{index}")  # type: ignore[arg-type]
    pool = LocalPool(router, attempts=kills + 3)
    await router.register_caller(pool._caller)

    async def kill_at_random() -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.01, 0.04))
            chance.choice(fakes).end()

    killing = asyncio.ensure_future(kill_at_random())
    drawing = asyncio.gather(*(keys_of(pool, unit) for unit in units(poison)), return_exceptions=True)
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
    assert results == [keys(unit) for unit in units(set())], "each sample once, whatever its shard sent before it ended"
    assert max(fake.most_under_way for fake in fakes) <= UNITS_PER_SHARD


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_units_that_end_their_shards_are_given_up_and_no_other(seed: int, shards: int) -> None:
    poison = {4, 5, 21}
    results, _ = asyncio.run(draw_all(seed, poison=poison, shards=shards, kills=0))
    given_up = {index for index, result in enumerate(results) if isinstance(result, UnitGivenUp)}
    assert given_up == poison
    assert all(results[i] == keys(unit) for i, unit in enumerate(units(poison)) if i not in poison)


class ShardThatCannotJoin(FakeShard):
    """Its process lives, and `join` raises."""

    async def _join(self, trainers: list[object]) -> str:
        raise RayTaskError("join", "ValueError: the model has 6 layers", ValueError("the model has 6 layers"))


def test_a_shard_that_cannot_join_is_given_up_with_its_reason() -> None:
    """Errors of `join` itself were taken for a shard that is being started again, and the run waited for ever."""

    async def ask() -> RouterCounts:
        router = ShardRouter([], units_per_shard=1, spread=False)
        await router.add(ShardThatCannotJoin(random.Random(0)), "shard-0")  # type: ignore[arg-type]
        pool = LocalPool(router, attempts=3)
        await router.register_caller(pool._caller)
        with pytest.raises(NoShardLeft, match="the model has 6 layers"):
            await asyncio.wait_for(keys_of(pool, units(set())[0]), timeout=5)
        return await router.counts()

    [warning] = asyncio.run(ask()).warnings
    assert (warning.source, warning.kind) == ("router", "shard_died") and "the model has 6 layers" in warning.message


def test_a_shard_that_was_lost_is_a_warning_of_the_router() -> None:
    """By the name it was started with, which its samples have too. Of two that were added at once the names could be swapped here."""

    async def lose_one() -> RouterCounts:
        router = ShardRouter([], units_per_shard=1, spread=False)
        shard = FakeShard(random.Random(0))
        await router.add(shard, "shard-3")  # type: ignore[arg-type]
        pool = LocalPool(router, attempts=3)
        await router.register_caller(pool._caller)
        await keys_of(pool, units(set())[0])
        shard.end()
        await keys_of(pool, units(set())[1])
        return await router.counts()

    [warning] = asyncio.run(lose_one()).warnings
    assert (warning.kind, warning.count) == ("shard_lost", 1) and warning.message.startswith("shard-3 was lost")


def test_samples_that_came_before_a_shard_ended_are_not_generated_again() -> None:
    """Of 200 samples of a unit whose shard ends halfway, each is generated once, but for the one that was under way."""

    async def end_halfway() -> tuple[list[tuple[str, int]], FakeShard]:
        router = ShardRouter([], units_per_shard=1, spread=False)
        shard = FakeShard(random.Random(0))
        await router.add(shard, "shard-0")  # type: ignore[arg-type]
        pool = LocalPool(router, attempts=3)
        await router.register_caller(pool._caller)
        unit = WorkUnit(
            unit_id="u", problem_id="p", prompt="fine", sample_indices=tuple(range(200)), seeds=tuple(range(200))
        )
        drawing = asyncio.ensure_future(keys_of(pool, unit))
        while len(shard.finished) < 100:
            await asyncio.sleep(0.001)
        shard.end()
        return await asyncio.wait_for(drawing, timeout=30), shard

    drawn, shard = asyncio.run(end_halfway())
    assert drawn == [("u", index) for index in range(200)]
    assert len(shard.finished) <= 201, "a sample that had ended may have been on its way"


class CountingShard(FakeShard):
    """Says what it does when asked. It finishes no sample of a unit before it was asked often enough."""

    def __init__(self, *, tokens_per_look: int, answers: bool = True, looks: float = math.inf) -> None:
        super().__init__(random.Random(0))
        self._tokens_per_look, self._answers, self._looks_left = tokens_per_look, answers, looks
        self._tokens = 0
        self.killed = 0
        self.activity = Calls(self._activity)

    async def _activity(self) -> ShardActivity:
        self._looks_left -= 1
        self._tokens += self._tokens_per_look
        if not self._answers and self._looks_left > 0:
            await asyncio.Event().wait()
        running = len(self._under_way)
        return ShardActivity(
            shard="shard-0",
            running=running,
            waiting=0,
            kv_cache_share=0.0,
            preemptions=0,
            finished=0,
            truncated=0,
            tokens=self._tokens,
            tokens_under_way=0,
        )

    def _finish(self, unit: WorkUnit, drawn: asyncio.Future[None]) -> None:
        if self._looks_left <= 0:
            super()._finish(unit, drawn)
        else:
            asyncio.get_running_loop().call_later(0.01, self._finish, unit, drawn)

    def kill(self, *, no_restart: bool) -> None:
        assert not no_restart, "Ray must restart it"
        self.killed += 1
        self._looks_left = 0
        self.end()


async def watch(shard: CountingShard) -> tuple[list[tuple[str, int]], RouterCounts]:
    """What comes of a unit on a shard that is killed after 0.2 s without a token."""
    router = ShardRouter([], units_per_shard=1, spread=False, stall_s=0.2)
    await router.add(shard, "shard-0")  # type: ignore[arg-type]
    pool = LocalPool(router, attempts=3)
    await router.register_caller(pool._caller)
    await asyncio.sleep(0.3)
    assert (await router.counts()).warnings == (), "it has nothing to do"
    drawn = await asyncio.wait_for(keys_of(pool, units(set())[0]), timeout=10)
    return drawn, await router.counts()


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module.ray, "kill", lambda shard, no_restart: shard.kill(no_restart=no_restart))


@pytest.mark.usefixtures("kills")
@pytest.mark.parametrize("answers", [True, False], ids=["its steps give no token", "it does not answer"])
def test_a_shard_that_stands_still_with_samples_running_is_killed_and_said(answers: bool) -> None:
    shard = CountingShard(tokens_per_look=0, answers=answers)
    drawn, counts = asyncio.run(watch(shard))
    assert drawn == keys(units(set())[0]) and shard.killed == 1
    assert [warning.kind for warning in counts.warnings] == ["shard_stalled", "shard_lost"]
    assert "shard-0 generated no token" in counts.warnings[0].message


@pytest.mark.usefixtures("kills")
def test_a_shard_whose_samples_grow_is_left_alone_however_long_they_take() -> None:
    shard = CountingShard(tokens_per_look=1, looks=20)
    drawn, counts = asyncio.run(watch(shard))
    assert drawn == keys(units(set())[0])
    assert shard.killed == 0 and counts.warnings == ()


def test_no_unit_is_begun_once_the_session_is_stopping() -> None:
    async def drain() -> None:
        router = ShardRouter([], units_per_shard=2, spread=False)
        await router.add(FakeShard(random.Random(0)), "shard-0")  # type: ignore[arg-type]
        pool = LocalPool(router, attempts=3)
        await router.register_caller(pool._caller)
        await router.acquire("p0", pool._caller, exclusive=False)
        await router.drain()
        await asyncio.wait_for(router.wait_for_drain(), timeout=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(keys_of(pool, units(set())[0]), timeout=0.2)
        assert await router.num_leases() == 1, "the unit under way goes on"

    asyncio.run(drain())
