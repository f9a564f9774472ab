"""The capacity of a run: a trainer that cannot keep up is reported before the run starts, with a suggestion that helps."""

from dataclasses import replace
from pathlib import Path

from transformers import GPT2Config, Qwen2Config

from actors.capacity.inputs import CapacityInputs
from actors.capacity.model import estimate_capacity
from actors.capacity.trainer_costs import ASSUMED_GPU, MEASURED_CPU
from actors.config import EngineConfig, ExchangeConfig
from esamp.config import ESampConfig
from pipelines.capacity.exchange import (
    COMFORTABLE_LOAD,
    ExchangeCapacity,
    assess_exchange,
    exchange_warning,
    run_inputs,
    trainers_needed,
)
from pipelines.capacity.report import CapacityRow
from pipelines.capacity.run import run_needs
from pipelines.config.run import RunConfig

BUSY = CapacityInputs(
    hidden_size=2048, steps_per_s=40.0, shards=64, prompts=1, samples=16, inner_width=128, exchange_share=0.5
)


def advice(inputs: CapacityInputs) -> str:
    return ExchangeCapacity.of(inputs, ASSUMED_GPU).advice


def test_the_trainers_that_the_advice_asks_for_are_enough_and_half_of_them_are_not() -> None:
    needed = trainers_needed(BUSY, ASSUMED_GPU)
    assert needed is not None and needed > 1
    assert f"use --trainers {needed}" in advice(BUSY)
    assert estimate_capacity(replace(BUSY, trainers=needed), ASSUMED_GPU).load <= COMFORTABLE_LOAD
    assert estimate_capacity(replace(BUSY, trainers=needed // 2), ASSUMED_GPU).load > COMFORTABLE_LOAD
    assert advice(replace(BUSY, trainers=needed)).startswith("keeps up")


def test_a_shard_too_fast_for_any_trainer_is_advised_to_learn_locally() -> None:
    fast = replace(BUSY, steps_per_s=10_000.0)
    assert "more trainers do not help, use trainer local" in advice(fast)
    assert advice(replace(fast, scope="cluster")).endswith("use scope shard with trainer local")


def test_a_row_is_plain_json_with_an_unlimited_network() -> None:
    row = CapacityRow("m", ExchangeCapacity.of(BUSY, ASSUMED_GPU)).to_dict()
    assert row["inputs"]["network_bytes_per_s"] is None  # type: ignore[index]


def test_a_run_is_assessed_from_its_own_settings() -> None:
    config = RunConfig(sampler="esamp", samples=8, limit=4, shards=2)
    inputs, needs = run_inputs(config), run_needs(config)
    assert (inputs.hidden_size, inputs.shards, inputs.samples, inputs.prompts) == (128, 2, 8, 8)
    assert inputs.trainer == "actor" and inputs.steps_per_s > 0
    assert needs.samples == 32 and needs.gpu_hours == 0 and needs.hours > 0 and needs.driver_bytes > 5e8


def test_the_constants_are_those_of_the_device_that_learns() -> None:
    config = RunConfig(sampler="esamp", samples=8, limit=4)
    local = replace(config, esamp=ESampConfig(trainer="local"))
    assert assess_exchange(config).costs is assess_exchange(local).costs is MEASURED_CPU
    assert assess_exchange(replace(config, exchange=ExchangeConfig(trainer_gpus=0.5))).costs is ASSUMED_GPU
    assert assess_exchange(replace(local, engine=EngineConfig(num_gpus=1))).costs is ASSUMED_GPU
    assert assess_exchange(replace(config, engine=EngineConfig(num_gpus=1))).costs is MEASURED_CPU


def test_a_run_with_a_small_max_staleness_is_warned_of_old_weights() -> None:
    """The model once took the default, 256, whatever --esamp.max-staleness was, and such a run began without a warning."""
    config = RunConfig(sampler="esamp", samples=8, limit=4)
    capacity = assess_exchange(config)
    assert capacity.keeps_up and capacity.estimate.lag > 2 and exchange_warning(config) is None
    strict = replace(config, esamp=ESampConfig(trainer="actor", max_staleness=4))
    warning = exchange_warning(strict)
    assert warning is not None and "over half of max_staleness 4" in warning


def large_run(folder: Path) -> RunConfig:
    """Of a model of 7B parameters on a GPU, with a trainer on a CPU."""
    Qwen2Config(hidden_size=3584, num_hidden_layers=28, intermediate_size=18944).save_pretrained(folder)
    engine = EngineConfig(num_gpus=1, max_num_seqs=128)
    esamp = ESampConfig(trainer="actor")
    return RunConfig(model=str(folder), sampler="esamp", samples=16, engine=engine, esamp=esamp)


def test_a_trainer_that_cannot_keep_up_is_warned_of_with_a_suggestion(tmp_path: Path) -> None:
    config = large_run(tmp_path)
    warning = exchange_warning(config)
    assert warning is not None
    assert "the trainer may not keep up" in warning and "rows are dropped" in warning and "use trainer local" in warning
    assert exchange_warning(replace(config, esamp=ESampConfig(trainer="local"))) is None
    assert exchange_warning(replace(config, sampler="vanilla")) is None


def test_nothing_is_told_of_one_that_can() -> None:
    assert exchange_warning(RunConfig(sampler="esamp", samples=16)) is None


def test_a_model_that_does_not_name_its_feed_forward_width_is_estimated_as_well(tmp_path: Path) -> None:
    GPT2Config(n_embd=4096, n_layer=32, n_head=32).save_pretrained(tmp_path)
    warning = exchange_warning(replace(large_run(tmp_path / "other"), model=str(tmp_path)))
    assert warning is not None and "the trainer may not keep up" in warning
