"""The plan: every sample once, with a seed that depends on nothing but run, problem and index."""

from dataclasses import replace

from actors.config import EngineConfig
from pipelines.config import RunConfig
from pipelines.plan import StoredUnit, plan_table, plan_units, sample_seed, stored_units
from pipelines.problems import Problem
from pipelines.stopping_config import StoppingConfig

PROBLEMS = [Problem(f"p{i}", f"say {i}", str(i)) for i in range(3)]
PROMPTS = [problem.text for problem in PROBLEMS]


def test_all_samples_of_a_problem_are_one_unit() -> None:
    units = plan_units(PROBLEMS, PROMPTS, RunConfig(samples=5))
    assert [unit.work.unit_id for unit in units] == ["p0#0", "p1#0", "p2#0"]
    assert units[0].work.sample_indices == (0, 1, 2, 3, 4)


def test_chunks_cover_every_sample_once_with_the_same_seeds() -> None:
    whole = plan_units(PROBLEMS, PROMPTS, RunConfig(samples=5))
    chunks = plan_units(PROBLEMS, PROMPTS, RunConfig(samples=5, samples_per_unit=2))
    assert [unit.work.sample_indices for unit in chunks[:3]] == [(0, 1), (2, 3), (4,)]
    assert sum((unit.work.seeds for unit in chunks[:3]), ()) == whole[0].work.seeds


def test_an_adaptive_run_takes_problems_side_by_side_and_their_units_in_turns() -> None:
    """8 samples in a batch of 2: units of 2, of which a shard has 2 in flight."""
    config = RunConfig(
        samples=8,
        samples_per_unit=2,
        units_per_part=2,
        sampler="vanilla",
        stop=StoppingConfig(successes=1),
        engine=EngineConfig(max_num_seqs=2),
    )
    units = [unit.work.unit_id for unit in plan_units(PROBLEMS, PROMPTS, config)]
    assert units[:8] == ["p0#0", "p1#0", "p0#2", "p1#2", "p0#4", "p1#4", "p0#6", "p1#6"]
    assert units[8:] == ["p2#0", "p2#2", "p2#4", "p2#6"]
    in_one_call = plan_units(PROBLEMS, PROMPTS, replace(config, units_per_part=3))[:3]
    assert [unit.work.unit_id for unit in in_one_call] == ["p0#0", "p1#0", "p2#0"], "units of a call end together"


def test_an_adaptive_run_draws_an_eighth_at_a_time_unless_told_otherwise() -> None:
    stop = StoppingConfig(successes=1)
    assert RunConfig(samples=64, stop=stop).unit_size == 8
    assert RunConfig(samples=4, stop=stop).unit_size == 1
    assert RunConfig(samples=64, stop=stop, samples_per_unit=32).unit_size == 32


def test_seeds_do_not_depend_on_the_other_problems() -> None:
    alone = plan_units(PROBLEMS[2:], PROMPTS[2:], RunConfig(samples=4))
    assert alone[0].work.seeds == plan_units(PROBLEMS, PROMPTS, RunConfig(samples=4))[2].work.seeds


def test_seeds_differ_and_stay_the_same_for_ever() -> None:
    seeds = {
        sample_seed(run, problem.problem_id, index) for run in range(3) for problem in PROBLEMS for index in range(50)
    }
    assert len(seeds) == 450
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert sample_seed(0, "p0", 0) == 1851546684, "a run that was begun with an older version must go on with its seeds"


def test_a_plan_survives_its_table() -> None:
    units = plan_units(PROBLEMS, PROMPTS, RunConfig(samples=3))
    stored = [StoredUnit(work=unit.work, text=unit.problem.text) for unit in units]
    assert list(stored_units(plan_table(units))) == stored
