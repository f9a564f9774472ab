"""The capacity model: what must hold whatever the constants are, and what it says of the real bank and messages."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from actors.calibration import CalibrationPoint, calibrate, write_calibration
from actors.capacity import IN_FLIGHT, Capacity, CapacityInputs, plan_capacity, slot_bytes
from actors.exchange import MAX_IN_FLIGHT
from actors.model_shapes import MODEL_SHAPES
from actors.trainer_costs import ASSUMED_GPU, TrainerCosts
from esamp.config import ESampConfig, Scope
from esamp.distiller import DistillerBank

COSTS = replace(
    ASSUMED_GPU,
    call_s=0.0,
    group_s=0.0,
    flop_s=0.0,
    weight_byte_s=0.0,
    row_byte_s=1e-9,
    publish_call_s=0.0,
    publish_byte_s=0.0,
    exchange_s=0.0,
    exchange_byte_s=0.0,
)
"""Nothing but the rows costs time, so that the numbers can be followed by hand."""
SMALL = CapacityInputs(hidden_size=256, steps_per_s=4.0, shards=8, prompts=2, samples=4, inner_width=32, max_groups=4)


def at_load(load: float, *, publishing: float = 0.0) -> Capacity:
    """SMALL with a training step that gives this load at 8 shards; a publication costs `publishing` training steps."""
    step_s = load / (8 * SMALL.steps_per_s) / (1 + publishing)
    costs = replace(COSTS, row_byte_s=0.0, call_s=step_s, publish_call_s=publishing * step_s)
    return plan_capacity(SMALL, costs)


def test_load_grows_with_shards_and_shrinks_with_trainers() -> None:
    one = plan_capacity(SMALL, COSTS).load
    assert plan_capacity(replace(SMALL, shards=16), COSTS).load == pytest.approx(2 * one)
    assert plan_capacity(replace(SMALL, shards=16, trainers=2), COSTS).load == pytest.approx(one)
    assert plan_capacity(replace(SMALL, scope="cluster", trainers=2), COSTS).load == pytest.approx(one)


def test_a_trainer_that_keeps_up_drops_nothing_and_publishes_every_step() -> None:
    capacity = at_load(0.5)
    assert capacity.dropped_share == 0 and capacity.steps_per_publication == 1
    assert capacity.publications_per_s == SMALL.steps_per_s


def test_publishing_gives_way_before_rows_do() -> None:
    capacity = at_load(1.3, publishing=1.0)
    assert capacity.dropped_share == 0
    assert 1 < capacity.steps_per_publication < IN_FLIGHT


@pytest.mark.parametrize("load", [1.5, 4.0, 20.0])
def test_a_saturated_trainer_learns_what_it_can_and_the_rest_is_dropped(load: float) -> None:
    capacity = at_load(load)
    assert capacity.dropped_share == pytest.approx(1 - 1 / load)
    assert capacity.rows_per_s * (1 - capacity.dropped_share) == pytest.approx(capacity.trainer_rows_per_s)


def test_lag_never_falls_as_load_grows_and_never_exceeds_half_a_groups_life() -> None:
    lags = [at_load(load, publishing=0.3).lag for load in (0.01, 0.5, 0.9, 0.99, 1.1, 1.2, 2, 8, 64, 1e4)]
    assert lags == sorted(lags)
    assert lags[0] == 1.0
    assert lags[-1] == SMALL.answer_tokens / 2


def test_the_network_can_be_what_limits() -> None:
    wide = replace(SMALL, samples=512)
    wide = replace(wide, network_bytes_per_s=8 * wide.row_bytes * wide.steps_per_s / 2)
    capacity = plan_capacity(wide, replace(COSTS, row_byte_s=0.0))
    assert capacity.bottleneck == "network in"
    assert capacity.dropped_share == pytest.approx(0.5)


def test_a_local_trainer_moves_and_drops_nothing() -> None:
    capacity = plan_capacity(replace(SMALL, trainer="local"), ASSUMED_GPU)
    assert capacity.hidden_bytes_per_s == capacity.publication_bytes_per_s == capacity.object_store_bytes == 0
    assert capacity.dropped_share == 0 and capacity.lag == 1 and capacity.slowdown > 1


def test_the_model_counts_as_the_bank_and_the_exchange_do() -> None:
    bank = DistillerBank(ESampConfig(inner_width=32), torch.ones(256), num_slots=4, device=torch.device("cpu"))
    assert slot_bytes(SMALL) == bank.num_bytes / bank.num_slots
    assert SMALL.publication_bytes == bank.theta_SP[:2].nbytes
    point = CalibrationPoint(hidden_size=256, inner_width=32, groups=2, rows_per_group=4)
    batch = point.batch("s")
    assert SMALL.row_bytes == point.row_bytes == batch.source.nbytes + batch.target.nbytes
    assert point.weight_bytes == SMALL.publication_bytes
    assert IN_FLIGHT == MAX_IN_FLIGHT


@pytest.mark.parametrize("scope", ["prompt", "shard", "cluster", "prior"])
@pytest.mark.parametrize("shape", MODEL_SHAPES)
def test_the_committed_calibration_plans_every_shape(shape: str, scope: Scope) -> None:
    model = MODEL_SHAPES[shape]
    inputs = CapacityInputs(hidden_size=model.hidden_size, steps_per_s=model.steps_per_s, scope=scope)
    assert plan_capacity(inputs, TrainerCosts.from_file()).lag >= 1


def test_impossible_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shards must be >= 1; got 0\."):
        replace(SMALL, shards=0)
    with pytest.raises(ValueError, match="needs a trainer actor"):
        replace(SMALL, scope="cluster", trainer="local")
    with pytest.raises(ValueError, match="some stay vanilla"):
        replace(SMALL, prompts=5)


@pytest.mark.ray
def test_a_calibration_is_measured_and_read_back(local_ray: None, tmp_path: Path) -> None:
    points = tuple(
        CalibrationPoint(hidden_size=h, inner_width=16, groups=g, rows_per_group=2) for h, g in ((64, 1), (128, 4))
    )
    path = tmp_path / "calibration.json"
    write_calibration(calibrate(points, tell=lambda line: None), path)
    costs = TrainerCosts.from_file(path)
    assert costs.call_s + costs.group_s > 0 and "one thread" in costs.machine
    measured = json.loads(path.read_text())
    assert all(point["queued_ms"] > 0 and point["round_trip_ms"] > 0 for point in measured["points"])
    assert len(measured["objects"]) == 5
    path.write_text("{}")
    with pytest.raises(ValueError, match="is no calibration"):
        TrainerCosts.from_file(path)
