"""Which shard gets the next unit, and which gets none."""

from actors.shards.shard_loads import ShardLoads


def loads(shards: int, *, units_per_shard: int = 4, spread: bool = False) -> ShardLoads:
    made = ShardLoads(units_per_shard=units_per_shard, spread=spread)
    for _ in range(shards):
        made.set_live(made.add())
    return made


def test_units_go_to_the_shard_with_the_least_to_do() -> None:
    shards = loads(3)
    assert [shards.acquire(problem) for problem in "abc"] == [0, 1, 2]
    shards.release(1, exclusive=False)
    assert shards.acquire("d") == 1


def test_units_of_a_problem_stay_together_and_wait_for_their_shard() -> None:
    shards = loads(2, units_per_shard=2)
    first = shards.acquire("a")
    shards.acquire("b")
    assert shards.acquire("a") == first
    assert shards.acquire("a") is None, "its shard is full, and the other is not its own"
    shards.release(0, exclusive=False)
    assert shards.acquire("a") == first


def test_units_of_a_problem_are_spread_over_the_least_loaded_shards() -> None:
    shards = loads(3, units_per_shard=2, spread=True)
    assert sorted(shards.acquire("a") for _ in range(6)) == [0, 0, 1, 1, 2, 2]  # type: ignore[type-var]
    assert shards.acquire("a") is None
    shards.release(1, exclusive=False)
    assert shards.acquire("a") == 1


def test_a_problem_moves_when_its_shard_is_lost_and_a_shard_that_joins_later_gets_work() -> None:
    shards = loads(2)
    assert shards.acquire("a") == 0
    shards.set_lost(0)
    assert shards.acquire("a") == 1
    late = shards.add()
    assert shards.acquire("b") == 1, "not live yet"
    shards.set_live(late)
    assert shards.acquire("c") == late
    shards.set_live(0)
    assert shards.acquire("a") == 1, "it has its Distiller there now"


def test_a_reserved_shard_drains_and_is_then_acquired_exclusively() -> None:
    shards = loads(2)
    assert [shards.acquire("a"), shards.acquire("b")] == [0, 1]
    assert shards.reserve() == 0
    assert not shards.acquire_reserved(0), "a still runs on it"
    assert shards.acquire("c") == 1
    shards.release(0, exclusive=False)
    assert shards.acquire_reserved(0)
    assert shards.acquire("d") == 1
    shards.release(0, exclusive=True)
    assert shards.acquire("e") == 0


def test_without_a_live_shard_everything_waits() -> None:
    shards = loads(1)
    shards.set_lost(0)
    assert shards.acquire("a") is None and shards.reserve() is None
