"""The capacity model: what must hold whatever the constants are, and that it counts as the real bank and messages do."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.capacity.exchange_cycle import LEAST_STEPS, MOST_STEPS, exchange_cycle, least_lag
from actors.capacity.inputs import CapacityInputs
from actors.capacity.model import Capacity, plan_capacity
from actors.capacity.model_shapes import MODEL_SHAPES
from actors.capacity.trainer_costs import ASSUMED_GPU, TrainerCosts
from esamp.config import ESampConfig, Scope
from esamp.distiller.bank import DistillerBank

FREE = TrainerCosts(
    machine="takes no time", **{field.name: 1e-15 for field in fields(TrainerCosts) if field.name != "machine"}
)
SMALL = CapacityInputs(
    hidden_size=256, steps_per_s=4.0, shards=8, prompts=2, samples=4, inner_width=32, max_groups=4, exchange_share=1.0
)
RATE = SMALL.shards * SMALL.steps_per_s
"""Decode steps a second of all shards."""


def at_load(load: float, **costs: float) -> Capacity:
    """SMALL with a training step that takes a trainer to this load, besides `costs`."""
    return plan_capacity(SMALL, replace(FREE, step_s=load / RATE, **costs))


def test_load_grows_with_shards_and_shrinks_with_trainers() -> None:
    costs = replace(FREE, flop_s=1e-9)
    one = plan_capacity(SMALL, costs).load
    assert plan_capacity(replace(SMALL, shards=16), costs).load == pytest.approx(2 * one)
    assert plan_capacity(replace(SMALL, shards=16, trainers=2), costs).load == pytest.approx(one)
    assert plan_capacity(replace(SMALL, shards=1, trainers=2), costs).load == pytest.approx(one / 16)
    assert plan_capacity(replace(SMALL, scope="cluster", trainers=2), costs).load == pytest.approx(one)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_a_trainer_that_keeps_up_drops_nothing(load: float) -> None:
    capacity = at_load(load)
    assert capacity.load == pytest.approx(load)
    assert capacity.dropped_share == 0 and capacity.steps_per_letter >= 1


def test_letters_grow_longer_before_rows_are_dropped() -> None:
    capacity = at_load(0.8, publish_s=0.4 / RATE)
    assert capacity.dropped_share == 0
    assert 1 < capacity.steps_per_letter < MOST_STEPS


@pytest.mark.parametrize("load", [1.5, 4.0, 20.0])
def test_a_saturated_trainer_learns_what_it_can_and_the_rest_is_dropped(load: float) -> None:
    capacity = at_load(load)
    assert capacity.dropped_share == pytest.approx(1 - 1 / load)
    assert capacity.steps_per_letter == LEAST_STEPS
    assert capacity.rows_per_s * (1 - capacity.dropped_share) == pytest.approx(capacity.trainer_rows_per_s)


def test_lag_is_one_at_rest_and_at_most_half_a_groups_life() -> None:
    assert at_load(1e-3).lag == pytest.approx(1.0, abs=0.01)
    assert at_load(1e6).lag == SMALL.answer_tokens / 2
    assert at_load(2.0).lag < at_load(8.0).lag < at_load(32.0).lag


@pytest.mark.parametrize("scope", ["prompt", "shard"])
@pytest.mark.parametrize("load", [0.1, 0.9, 4.0, 64.0])
def test_the_shares_of_a_lag_are_those_of_a_group_that_is_followed_through_its_life(load: float, scope: Scope) -> None:
    inputs, costs = replace(SMALL, scope=scope, answer_tokens=40.0), replace(FREE, step_s=load / RATE)
    cycle, capacity = exchange_cycle(inputs, costs), plan_capacity(inputs, costs)
    random = np.random.default_rng(0)
    ages = random.uniform(0, inputs.answer_tokens if scope == "prompt" else 1e9, 100_000)
    least = least_lag(inputs, cycle)
    behind = least + random.uniform(size=ages.size) * max(0.0, SMALL.steps_per_s * cycle.publication_s - 1)
    lags = np.maximum(1.0, np.minimum(ages, behind))
    assert capacity.lag_median == pytest.approx(np.median(lags), rel=0.02)
    assert capacity.lag_95 == pytest.approx(np.percentile(lags, 95), rel=0.02)


@pytest.mark.parametrize("load", [0.1, 0.5, 3.0])
def test_a_trainer_is_busy_with_what_it_is_sent(load: float) -> None:
    assert at_load(load).trainer_busy == pytest.approx(min(1.0, load), rel=0.01)


def test_the_network_can_be_what_limits() -> None:
    wide = replace(SMALL, samples=512)
    wide = replace(wide, network_bytes_per_s=wide.row_bytes * RATE / 2)
    assert plan_capacity(wide, FREE).bottleneck == "network in"
    assert plan_capacity(wide, FREE).dropped_share == pytest.approx(0.5, abs=0.02)


def test_the_pace_of_the_exchange_can_be_what_limits() -> None:
    """Whatever the trainer could do: a shard spends no more than its share of time on letters and weights."""
    costs = replace(FREE, send_byte_s=1e-6 / SMALL.row_bytes, take_s=0.01)
    capacity = plan_capacity(replace(SMALL, exchange_share=2e-6), costs)
    assert capacity.bottleneck == "pace"
    assert capacity.dropped_share == pytest.approx(1 - 1 / SMALL.steps_per_s)
    seldom = plan_capacity(replace(SMALL, exchange_share=0.01), costs)
    assert seldom.dropped_share == 0 and seldom.publication_s == pytest.approx(0.01 * 2 / 0.01)


def test_a_local_trainer_moves_and_drops_nothing() -> None:
    capacity = plan_capacity(replace(SMALL, trainer="local"), ASSUMED_GPU)
    assert capacity.hidden_bytes_per_s == capacity.publication_bytes_per_s == capacity.object_store_bytes == 0
    assert capacity.dropped_share == 0 and capacity.lag == 1 and capacity.slowdown > 1


def test_the_model_counts_as_the_bank_does() -> None:
    bank = DistillerBank(ESampConfig(inner_width=32), torch.ones(256), num_slots=4, device=torch.device("cpu"))
    assert SMALL.slot_bytes == bank.num_bytes / bank.num_slots
    assert SMALL.publication_bytes == bank.theta_SP[:2].nbytes
    assert SMALL.row_bytes == torch.zeros(2, 2 * 4, 256).nbytes


@pytest.mark.parametrize("scope", ["prompt", "shard", "cluster", "prior"])
@pytest.mark.parametrize("shape", MODEL_SHAPES)
def test_the_committed_calibration_plans_every_shape(shape: str, scope: Scope) -> None:
    model = MODEL_SHAPES[shape]
    inputs = CapacityInputs(hidden_size=model.hidden_size, steps_per_s=model.steps_per_s, scope=scope, shards=1024)
    capacity = plan_capacity(inputs, TrainerCosts.from_file())
    assert capacity.lag >= 1 and (capacity.dropped_share > 0) == (capacity.load > 1)


def test_impossible_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shards must be >= 1; got 0\."):
        replace(SMALL, shards=0)
    with pytest.raises(ValueError, match="needs a trainer actor"):
        replace(SMALL, scope="cluster", trainer="local")
    with pytest.raises(ValueError, match="some stay vanilla"):
        replace(SMALL, prompts=5)


def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(ValueError, match="is no calibration"):
        TrainerCosts.from_file(tmp_path / "calibration.json")
