"""Units and the shards that draw them, when shards end: real actors, and the real engine on the embedded model."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import ray
from ray.actor import ActorHandle

from actors.config import EngineConfig, SamplingConfig, ShardConfig
from actors.errors import EngineFailed, NoShardLeft
from actors.shards.fleet import Fleet
from actors.shards.router import Caller, ShardPool, start_router
from actors.shards.shard_actor import ShardActor
from actors.types import RouterCounts, Sample, WorkUnit
from esamp.config import ESampConfig
from pipelines.config.run import EMBEDDED_MODEL
from pipelines.problems.countdown import evaluation_problems
from tests.processes import kill, wait_until, workers

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
PROBLEMS = evaluation_problems(4)


def unit(number: int, samples: int = 16) -> WorkUnit:
    return WorkUnit(
        unit_id=f"u{number}",
        problem_id=PROBLEMS[number].problem_id,
        prompt=PROBLEMS[number].prompt,
        sample_indices=tuple(range(samples)),
        seeds=tuple(1000 * number + index for index in range(samples)),
    )


async def samples_of(pool: ShardPool, unit: WorkUnit) -> list[Sample]:
    """In their order."""
    return sorted([sample async for sample in pool.generate(unit)], key=lambda sample: sample.sample_index)


def draw(pool: ShardPool, units: list[WorkUnit]) -> list[list[Sample]]:
    async def all_of_them() -> list[list[Sample]]:
        return await asyncio.gather(*(samples_of(pool, unit) for unit in units))

    return asyncio.run(all_of_them())


def counts(router: ActorHandle) -> RouterCounts:
    found: RouterCounts = ray.get(router.counts.remote())
    return found


def test_actors_have_names_that_another_run_of_the_same_driver_may_have_too() -> None:
    routers = [start_router([], [], units_per_shard=1, spread=False) for _ in range(2)]
    named = [name for name in ray.util.list_named_actors() if name.startswith("router-")]
    assert len(set(named)) >= 2 and all(counts(router) == RouterCounts() for router in routers)


class EngineThatBreaks:
    """Breaks on its first unit, unless an engine broke here before."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    async def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]:
        if not self._marker.exists():
            self._marker.touch()
            raise EngineFailed("the engine of shard-0 failed: out of blocks")
        for sample in ():
            yield sample


class BreakingShard(ShardActor):
    """A ShardActor around that engine."""

    def __init__(self, marker: Path) -> None:
        self._serve(EngineThatBreaks(marker))  # type: ignore[arg-type]


def test_a_shard_whose_engine_broke_is_started_again_and_draws_the_unit(tmp_path: Path) -> None:
    shard = ray.remote(BreakingShard).options(num_cpus=0, max_concurrency=8, max_restarts=-1).remote(tmp_path / "broke")
    router = start_router([shard], [], units_per_shard=4, spread=False)
    assert draw(ShardPool(router, attempts=3), [unit(0), unit(1)]) == [[], []]
    assert counts(router).shard_restarts == 1 and counts(router).units_run_again >= 1


def test_the_units_of_a_caller_that_was_started_again_make_room_and_are_counted(tmp_path: Path) -> None:
    shard = ray.remote(BreakingShard).options(num_cpus=0, max_concurrency=8).remote(tmp_path / "never")
    router = start_router([shard], [], units_per_shard=1, spread=False)
    first, second = (Caller(actor="stage", incarnation=incarnation) for incarnation in ("first", "second"))
    ray.get(router.register_caller.remote(first))
    ray.get(router.acquire.remote("p0", first, exclusive=False))
    ray.get(router.register_caller.remote(second))
    ray.get(router.acquire.remote("p0", second, exclusive=False), timeout=60)
    assert counts(router).units_run_again == 1 and counts(router).shard_restarts == 0


class ShardThatCannotComeBack:
    """Ends on its first unit, and cannot start a second time."""

    def __init__(self) -> None:
        if ray.get_runtime_context().was_current_actor_reconstructed:
            raise ValueError("the GPU has fallen off the bus")

    async def join(self, trainers: list[ActorHandle]) -> str:
        return "first"

    async def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]:
        os._exit(1)
        yield


def test_a_run_whose_last_shard_is_gone_for_good_is_told_why() -> None:
    shard = ray.remote(ShardThatCannotComeBack).options(num_cpus=0, max_concurrency=8, max_restarts=-1).remote()
    router = start_router([shard], [], units_per_shard=4, spread=False)
    with pytest.raises(NoShardLeft, match=r"no shard is left.*the GPU has fallen off the bus"):
        draw(ShardPool(router, attempts=3), [unit(0)])


def shard_config(esamp: ESampConfig | None) -> ShardConfig:
    return ShardConfig(
        model=str(EMBEDDED_MODEL),
        engine=EngineConfig(enforce_eager=True, kv_cache_gib=0.1, max_num_seqs=8, dtype="float32", num_cpus=0.5),
        sampling=SamplingConfig(max_tokens=40),
        policy=esamp,
    )


@pytest.mark.engine
@pytest.mark.slow
def test_an_engine_that_was_killed_draws_its_units_again_as_if_nothing_had_been() -> None:
    units = [unit(number) for number in range(4)]
    with Fleet(shard_config(None), num_shards=1) as fleet:
        router = start_router(fleet.shards, [], units_per_shard=4, spread=False)
        pool = ShardPool(router, attempts=3)
        undisturbed = draw(pool, units)

        async def draw_and_kill() -> list[list[Sample]]:
            drawing = [asyncio.create_task(samples_of(pool, unit)) for unit in units]
            await asyncio.sleep(0)
            await asyncio.to_thread(wait_until, lambda: bool(workers("ShardActor.generate")))
            kill(workers("ShardActor")[0])
            return await asyncio.gather(*drawing)

        disturbed = asyncio.run(draw_and_kill())
        assert counts(router).shard_restarts == 1 and counts(router).units_run_again >= 1
    drawn = [[[(s.token_ids, s.seed) for s in samples] for samples in draws] for draws in (undisturbed, disturbed)]
    assert drawn[0] == drawn[1]


@pytest.mark.engine
@pytest.mark.slow
def test_an_engine_that_was_started_again_is_taught_by_the_same_trainer() -> None:
    """Killed while it has nothing to do, which nobody notices before it is given a unit."""
    esamp = ESampConfig(trainer="actor", max_groups=8, inner_width=64)
    with Fleet(shard_config(esamp), num_shards=1) as fleet:
        router = start_router(fleet.shards, fleet.trainers, units_per_shard=4, spread=False)
        pool = ShardPool(router, attempts=3)
        draw(pool, [unit(0)])
        kill(workers("ShardActor")[0])
        samples = draw(pool, [unit(1)])[0]
        [stats] = fleet.stats()
        assert counts(router).shard_restarts == 1
        assert stats.intervened_tokens > 0 and stats.trained_rows > 0
        assert all(sample.intervened[1:] == [True] * (len(sample.token_ids) - 1) for sample in samples)
