"""Which shard gets the next unit, and which gets none."""

from actors.shards.shard_loads import ShardLoads


def loads(shards: int, *, units_per_shard: int = 4, spread: bool = False) -> ShardLoads:
    made = ShardLoads(units_per_shard=units_per_shard, spread=spread)
    for _ in range(shards):
        made.set_live(made.add())
    return made


def test_units_go_to_the_shard_with_the_least_to_do() -> None:
    router = loads(3)
    assert [router.acquire(problem) for problem in "abc"] == [0, 1, 2]
    router.release(1, exclusive=False)
    assert router.acquire("d") == 1


def test_units_of_a_problem_stay_together_and_wait_for_their_shard() -> None:
    router = loads(2, units_per_shard=2)
    first = router.acquire("a")
    router.acquire("b")
    assert router.acquire("a") == first
    assert router.acquire("a") is None, "its shard is full, and the other is not its own"
    router.release(0, exclusive=False)
    assert router.acquire("a") == first


def test_units_of_a_problem_spill_over_to_whichever_shard_has_least_to_do() -> None:
    router = loads(3, units_per_shard=2, spread=True)
    assert sorted(router.acquire("a") for _ in range(6)) == [0, 0, 1, 1, 2, 2]  # type: ignore[type-var]
    assert router.acquire("a") is None
    router.release(1, exclusive=False)
    assert router.acquire("a") == 1


def test_a_problem_moves_when_its_shard_is_lost_and_a_shard_that_joins_later_gets_work() -> None:
    router = loads(2)
    assert router.acquire("a") == 0
    router.set_lost(0)
    assert router.acquire("a") == 1
    late = router.add()
    assert router.acquire("b") == 1, "not live yet"
    router.set_live(late)
    assert router.acquire("c") == late
    router.set_live(0)
    assert router.acquire("a") == 1, "it has its Distiller there now"


def test_a_reserved_shard_runs_dry_and_is_then_taken_alone() -> None:
    router = loads(2)
    assert [router.acquire("a"), router.acquire("b")] == [0, 1]
    assert router.reserve() == 0
    assert not router.acquire_reserved(0), "a is still under way on it"
    assert router.acquire("c") == 1
    router.release(0, exclusive=False)
    assert router.acquire_reserved(0)
    assert router.acquire("d") == 1
    router.release(0, exclusive=True)
    assert router.acquire("e") == 0


def test_without_a_live_shard_everything_waits() -> None:
    router = loads(1)
    router.set_lost(0)
    assert router.acquire("a") is None and router.reserve() is None
