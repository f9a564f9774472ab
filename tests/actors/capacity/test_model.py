"""The capacity model: what must hold whatever the constants are, and that it counts as the real bank and messages do."""

from dataclasses import fields, replace

import pytest
import torch

from actors.capacity.inputs import CapacityInputs
from actors.capacity.model import Capacity, estimate_capacity
from actors.capacity.trainer_costs import ASSUMED_GPU, MEASURED_CPU, TrainerCosts
from actors.exchange import send_queue
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
    return estimate_capacity(SMALL, replace(FREE, step_s=load / RATE, **costs))


def test_load_grows_with_shards_and_shrinks_with_trainers() -> None:
    costs = replace(FREE, flop_s=1e-9)
    one = estimate_capacity(SMALL, costs).load
    assert estimate_capacity(replace(SMALL, shards=16), costs).load == pytest.approx(2 * one)
    assert estimate_capacity(replace(SMALL, shards=16, trainers=2), costs).load == pytest.approx(one)
    assert estimate_capacity(replace(SMALL, shards=1, trainers=2), costs).load == pytest.approx(one / 16)
    assert estimate_capacity(replace(SMALL, scope="cluster", trainers=2), costs).load == pytest.approx(one)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_a_trainer_that_keeps_up_drops_nothing(load: float) -> None:
    capacity = at_load(load)
    assert capacity.load == pytest.approx(load)
    assert capacity.dropped_share == 0 and capacity.steps_per_message >= 1


def test_messages_grow_longer_before_rows_are_dropped() -> None:
    capacity = at_load(0.8, update_s=0.4 / RATE)
    assert capacity.dropped_share == 0
    assert 1 < capacity.steps_per_message < send_queue.MAX_STEPS


@pytest.mark.parametrize("load", [1.5, 4.0, 20.0])
def test_a_saturated_trainer_learns_what_it_can_and_the_rest_is_dropped(load: float) -> None:
    capacity = at_load(load)
    assert capacity.dropped_share == pytest.approx(1 - 1 / load)
    assert capacity.steps_per_message == send_queue.MIN_STEPS
    assert capacity.trained_rows_per_s == pytest.approx(RATE * SMALL.rows / load)
    assert not capacity.keeps_up


def test_lag_is_one_at_rest_and_at_most_half_a_groups_life() -> None:
    assert at_load(1e-3).lag == pytest.approx(1.0, abs=0.01)
    assert at_load(1e6).lag == SMALL.answer_tokens / 2
    assert at_load(2.0).lag < at_load(8.0).lag < at_load(32.0).lag


def test_a_trainer_keeps_up_until_weights_lag_half_of_max_staleness() -> None:
    """Beta is lowered from there on (esamp.exploration.weight_ages.stale_beta), though no row is dropped."""
    capacity = at_load(0.9, latency_s=5.0)
    assert capacity.dropped_share == 0 and 10 < capacity.lag < 128 and capacity.keeps_up
    inputs, costs = replace(SMALL, max_staleness=int(capacity.lag)), replace(FREE, step_s=0.9 / RATE, latency_s=5.0)
    assert not estimate_capacity(inputs, costs).keeps_up


@pytest.mark.parametrize("load", [0.1, 0.5, 3.0])
def test_a_trainer_is_busy_with_what_it_is_sent(load: float) -> None:
    assert at_load(load).trainer_busy == pytest.approx(min(1.0, load), rel=0.01)


def test_the_network_can_be_what_limits() -> None:
    wide = replace(SMALL, samples=512)
    wide = replace(wide, network_bytes_per_s=wide.row_bytes * RATE / 2)
    assert estimate_capacity(wide, FREE).bottleneck == "network in"
    assert estimate_capacity(wide, FREE).dropped_share == pytest.approx(0.5, abs=0.02)


def test_the_rate_limit_of_the_exchange_can_be_what_limits() -> None:
    """Whatever the trainer could do: a shard spends no more than its share of time on messages and weight updates."""
    costs = replace(FREE, send_byte_s=1e-6 / SMALL.row_bytes, receive_s=0.01)
    capacity = estimate_capacity(replace(SMALL, exchange_share=2e-6), costs)
    assert capacity.bottleneck == "rate limit"
    assert capacity.dropped_share == pytest.approx(1 - 1 / SMALL.steps_per_s)
    rare = estimate_capacity(replace(SMALL, exchange_share=0.01), costs)
    rest_s, updates_per_s = 0.01 * 2 / 0.01, rare.updates_per_s / SMALL.shards
    assert rare.dropped_share == 0
    assert rest_s <= 1 / updates_per_s <= rest_s + 1 / SMALL.steps_per_s, "with the first message after the rest"


def test_a_shard_splits_its_share_of_time_evenly_over_its_trainers() -> None:
    """As ActorLearner does: more trainers do not help where the rate limit is the bottleneck."""
    costs = replace(FREE, send_byte_s=1e-6 / SMALL.row_bytes)
    one, two = (estimate_capacity(replace(SMALL, exchange_share=2e-6, trainers=trainers), costs) for trainers in (1, 2))
    assert one.bottleneck == two.bottleneck == "rate limit"
    assert two.load == pytest.approx(one.load) and two.dropped_share == pytest.approx(one.dropped_share)


def test_a_local_trainer_sends_and_drops_nothing() -> None:
    capacity = estimate_capacity(replace(SMALL, trainer="local"), ASSUMED_GPU)
    assert capacity.hidden_bytes_per_s == capacity.update_bytes_per_s == capacity.object_store_bytes == 0
    assert capacity.dropped_share == 0 and capacity.lag == 1 and capacity.slowdown > 1


def test_the_model_counts_as_the_bank_does() -> None:
    bank = DistillerBank(ESampConfig(inner_width=32), torch.ones(256), num_slots=4, device=torch.device("cpu"))
    assert SMALL.slot_bytes == bank.num_bytes / bank.num_slots
    assert SMALL.update_bytes == bank.theta_SP[:2].nbytes
    assert SMALL.row_bytes == torch.zeros(2, 2 * 4, 256).nbytes


@pytest.mark.parametrize("scope", ["prompt", "shard", "cluster", "prior"])
@pytest.mark.parametrize("costs", [MEASURED_CPU, ASSUMED_GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("trainers", [1, 7])
@pytest.mark.parametrize("hidden_size", [64, 512, 3584])
def test_rows_are_dropped_exactly_where_the_load_is_above_one(
    hidden_size: int, trainers: int, costs: TrainerCosts, scope: Scope
) -> None:
    for shards in (1, 8, 64, 1024):
        inputs = CapacityInputs(
            hidden_size=hidden_size, steps_per_s=41.0, scope=scope, shards=shards, trainers=trainers
        )
        capacity = estimate_capacity(inputs, costs)
        assert capacity.lag >= 1 and 0 <= capacity.dropped_share < 1 and 0 < capacity.trainer_busy <= 1
        assert (capacity.dropped_share > 0) == (capacity.load > 1), capacity
        assert 0 < capacity.steps_per_message <= send_queue.MAX_STEPS


def test_impossible_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shards must be >= 1; got 0\."):
        replace(SMALL, shards=0)
    with pytest.raises(ValueError, match="needs a trainer actor"):
        replace(SMALL, scope="cluster", trainer="local")
    with pytest.raises(ValueError, match="some stay vanilla"):
        replace(SMALL, prompts=5)
