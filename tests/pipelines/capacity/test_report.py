"""Verdicts: the way out that they name is one."""

from dataclasses import replace

from actors.capacity.inputs import CapacityInputs
from actors.capacity.model import plan_capacity
from actors.capacity.trainer_costs import ASSUMED_GPU
from pipelines.capacity.advice import COMFORTABLE_LOAD, trainers_needed, verdict
from pipelines.capacity.report import make_plan
from pipelines.capacity.run import run_inputs, run_needs
from pipelines.config.run import RunConfig

BUSY = CapacityInputs(hidden_size=2048, steps_per_s=40.0, shards=64, prompts=1, samples=16, inner_width=128)


def test_the_trainers_that_a_verdict_asks_for_are_enough_and_half_of_them_are_not() -> None:
    needed = trainers_needed(BUSY, ASSUMED_GPU)
    assert needed is not None and needed > 1
    assert f"use --trainers {needed}" in verdict(BUSY, ASSUMED_GPU)
    assert plan_capacity(replace(BUSY, trainers=needed), ASSUMED_GPU).load <= COMFORTABLE_LOAD
    assert plan_capacity(replace(BUSY, trainers=needed // 2), ASSUMED_GPU).load > COMFORTABLE_LOAD
    assert verdict(replace(BUSY, trainers=needed), ASSUMED_GPU).startswith("fits")


def test_a_shard_too_fast_for_any_trainer_is_told_to_learn_at_home() -> None:
    fast = replace(BUSY, steps_per_s=10_000.0)
    assert "more trainers do not help, use trainer local" in verdict(fast, ASSUMED_GPU)
    assert verdict(replace(fast, scope="cluster"), ASSUMED_GPU).endswith("use scope shard with trainer local")


def test_a_plan_is_plain_json_with_an_endless_network() -> None:
    plan = make_plan("m", BUSY, ASSUMED_GPU).to_dict()
    assert plan["inputs"]["network_bytes_per_s"] is None  # type: ignore[index]


def test_a_run_is_planned_from_its_own_settings() -> None:
    config = RunConfig(samples=8, limit=4, shards=2)
    inputs, needs = run_inputs(config), run_needs(config)
    assert (inputs.hidden_size, inputs.shards, inputs.samples, inputs.prompts) == (128, 2, 8, 8)
    assert inputs.trainer == "actor" and inputs.steps_per_s > 0
    assert needs.samples == 32 and needs.gpu_hours == 0 and needs.hours > 0 and needs.driver_bytes > 5e8
