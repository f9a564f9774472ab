"""The plan: every sample once, with a seed that depends on nothing but run, problem and index."""

import io
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from actors.config import EngineConfig
from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.run import RunConfig
from pipelines.problems.problem import Problem
from pipelines.runs import plan
from pipelines.runs.plan import PlannedWorkUnit, StoredWorkUnit, plan_run, sample_seed, stored_work_units, write_plan

PROBLEMS = [Problem(f"p{i}", f"say {i}", str(i)) for i in range(3)]


def units(config: RunConfig, problems: list[Problem] = PROBLEMS) -> list[PlannedWorkUnit]:
    return list(plan_run(problems, lambda problem: f"Please {problem.text}", config).work_units())


def test_all_samples_of_a_problem_are_one_unit() -> None:
    planned = units(RunConfig(sampler="esamp", samples=5))
    assert [unit.work.unit_id for unit in planned] == ["p0#0", "p1#0", "p2#0"]
    assert planned[0].work.sample_indices == (0, 1, 2, 3, 4)


def test_chunks_cover_every_sample_once_with_the_same_seeds() -> None:
    whole = units(RunConfig(sampler="esamp", samples=5))
    chunks = units(RunConfig(sampler="esamp", samples=5, samples_per_work_unit=2))
    assert [unit.work.sample_indices for unit in chunks[:3]] == [(0, 1), (2, 3), (4,)]
    assert sum((unit.work.seeds for unit in chunks[:3]), ()) == whole[0].work.seeds


def test_an_adaptive_run_takes_problems_side_by_side_and_their_units_in_turns() -> None:
    """8 samples in a batch of 2: units of 2, of which a shard has 2 in flight."""
    config = RunConfig(
        samples=8,
        samples_per_work_unit=2,
        work_units_per_file=2,
        sampler="vanilla",
        stop=StoppingConfig(successes=1),
        engine=EngineConfig(max_num_seqs=2),
    )
    planned = [unit.work.unit_id for unit in units(config)]
    assert planned[:8] == ["p0#0", "p1#0", "p0#2", "p1#2", "p0#4", "p1#4", "p0#6", "p1#6"]
    assert planned[8:] == ["p2#0", "p2#2", "p2#4", "p2#6"]
    in_one_call = units(replace(config, work_units_per_file=3))[:3]
    assert [unit.work.unit_id for unit in in_one_call] == ["p0#0", "p1#0", "p2#0"], "units of a call end together"


def test_an_adaptive_run_draws_an_eighth_at_a_time_unless_told_otherwise() -> None:
    stop = StoppingConfig(successes=1)
    assert RunConfig(sampler="esamp", samples=64, stop=stop).work_unit_size == 8
    assert RunConfig(sampler="esamp", samples=4, stop=stop).work_unit_size == 1
    assert RunConfig(sampler="esamp", samples=64, stop=stop, samples_per_work_unit=32).work_unit_size == 32


def test_a_run_whose_samples_exceed_a_batch_is_planned_in_work_units_of_a_batch() -> None:
    """The plan once took all 128 samples as one work unit, so that nothing could be spread over shards (docs/failures.md)."""
    config = RunConfig(samples=128, sampler="vanilla", engine=EngineConfig(max_num_seqs=64))
    assert config.spreads
    sizes = [len(unit.work.sample_indices) for unit in units(config, PROBLEMS[:1])]
    assert sizes == [64, 64]
    extended = plan_run(PROBLEMS[:1], lambda problem: problem.text, config, extended_from=(16,))
    assert extended.rounds == [[range(16)], [range(16, 80), range(80, 128)]]


def test_seeds_do_not_depend_on_the_other_problems() -> None:
    alone = units(RunConfig(sampler="esamp", samples=4), PROBLEMS[2:])
    assert alone[0].work.seeds == units(RunConfig(sampler="esamp", samples=4))[2].work.seeds


def test_seeds_differ_and_stay_the_same_for_ever() -> None:
    seeds = {
        sample_seed(run, problem.problem_id, index) for run in range(3) for problem in PROBLEMS for index in range(50)
    }
    assert len(seeds) == 450
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert sample_seed(0, "p0", 0) == 1851546684, "a run that was begun with an older version must go on with its seeds"


def test_a_plan_survives_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "GROUP_UNITS", 2)
    planned = units(RunConfig(sampler="esamp", samples=3))
    file = io.BytesIO()
    write_plan(file, iter(planned))
    stored = [StoredWorkUnit(work=unit.work, text=unit.problem.text) for unit in planned]
    assert list(stored_work_units(pq.read_table(file))) == stored
    assert pq.read_metadata(file).num_row_groups == 2, "it is written a group at a time"


def test_an_extension_adds_units_and_leaves_those_there_as_they_are() -> None:
    first = plan_run(PROBLEMS, lambda problem: problem.text, RunConfig(sampler="esamp", samples=2))
    extended = plan_run(
        PROBLEMS, lambda problem: problem.text, RunConfig(sampler="esamp", samples=7), extended_from=(2,)
    )
    assert list(extended.work_units(0)) == list(first.work_units())
    assert [unit.work.unit_id for unit in extended.work_units(1)] == ["p0#2", "p1#2", "p2#2"]
    assert next(extended.work_units(1)).work.sample_indices == (2, 3, 4, 5, 6)
    assert next(extended.work_units(1)).work.seeds == units(RunConfig(sampler="esamp", samples=7))[0].work.seeds[2:]
    assert (first.num_units, extended.num_units) == (3, 6)
