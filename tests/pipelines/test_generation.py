"""Which shard gets which unit, and how many it gets at a time."""

from actors.config import EngineConfig
from esamp.config import ESampConfig
from pipelines.config import RunConfig
from pipelines.generation import ShardRouter
from pipelines.plan import units_in_flight


def test_units_go_to_the_shard_with_the_least_to_do() -> None:
    router = ShardRouter(3)
    assert [router.take(problem) for problem in "abc"] == [0, 1, 2]
    router.give_back(1)
    assert router.take("d") == 1


def test_units_of_a_problem_stay_together() -> None:
    router = ShardRouter(2)
    first = router.take("a")
    router.take("b")
    assert router.take("a") == first


def test_a_shard_is_given_its_batch_twice_over() -> None:
    config = RunConfig(samples=16, sampler="vanilla", engine=EngineConfig(max_num_seqs=64))
    assert units_in_flight(config) == 8
    assert units_in_flight(RunConfig(samples=1000, sampler="vanilla")) == 1


def test_an_exploring_shard_gets_no_more_problems_than_it_has_distillers() -> None:
    config = RunConfig(samples=1, esamp=ESampConfig(max_groups=4), engine=EngineConfig(max_num_seqs=64))
    assert units_in_flight(config) == 4
