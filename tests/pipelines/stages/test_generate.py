"""Which units are launched, and how many a shard gets at a time."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from actors.config import EngineConfig
from actors.shards.router import start_router
from esamp.config import ESampConfig
from pipelines.config.run import RunConfig
from pipelines.problems.problem import Problem
from pipelines.runs.plan import plan_run, plan_table, work_units_in_flight, work_units_per_file
from pipelines.runs.schema import run_labels
from pipelines.stages.generate import GenerateSamples, LogSettings


class ClosedGate:
    async def is_open(self, problem_id: str) -> bool:
        return False


@pytest.mark.ray
def test_a_unit_of_a_problem_that_has_stopped_is_not_launched(local_ray: None, tmp_path: Path) -> None:
    """There is no shard: to ask for one would raise."""
    config = RunConfig(sampler="esamp", samples=2)
    labels = run_labels(config, run_id="r", model_fingerprint="f")
    router = start_router([], [], units_per_shard=1, spread=False)
    log = LogSettings(folder=str(tmp_path), session="s", save_every_s=10.0)
    stage = GenerateSamples(router, labels, ClosedGate(), attempts=1, group_size=2, verifiers=[], listeners=[], log=log)
    plan = plan_table(plan_run([Problem("p", "say 0", "0")], lambda problem: problem.text, config).work_units())

    async def generated_rows() -> list[int]:
        return [table.num_rows async for table in stage(plan)]

    try:
        assert asyncio.run(generated_rows()) == [0]
    finally:
        stage.close()


def test_a_shard_is_given_its_batch_twice_over() -> None:
    config = RunConfig(samples=16, sampler="vanilla", engine=EngineConfig(max_num_seqs=64))
    assert work_units_in_flight(config) == 8
    assert work_units_in_flight(RunConfig(samples=1000, sampler="vanilla")) == 2, (
        "units of a batch each, that spread over"
    )
    assert work_units_in_flight(RunConfig(samples=1000, sampler="vanilla", spread=False)) == 1


def test_an_exploring_shard_gets_no_more_problems_than_it_has_distillers() -> None:
    config = RunConfig(
        sampler="esamp", samples=1, esamp=ESampConfig(max_groups=4), engine=EngineConfig(max_num_seqs=64)
    )
    assert work_units_in_flight(config) == 4
    shared = replace(config, esamp=replace(config.esamp, scope="shard"))
    assert work_units_in_flight(shared) > 4, "prompts that share a Distiller need no slots of their own"


def test_parts_grow_with_the_run_but_not_beyond_what_is_under_way() -> None:
    config = RunConfig(samples=16, sampler="vanilla", engine=EngineConfig(max_num_seqs=256))
    assert [work_units_per_file(config, units) for units in (10, 20_000, 1_000_000)] == [4, 10, 16]
    assert work_units_per_file(replace(config, work_units_per_file=1), 1_000_000) == 1
