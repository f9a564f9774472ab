"""A small simulation: every work unit and every row of it is accounted for, and what can be counted is what the model predicts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.devtools.simulation.config import SimulationConfig
from pipelines.capacity.report import markdown_table
from pipelines.devtools.simulation_report import SimulatedPoint, points_table, run_points, write_points

pytestmark = pytest.mark.ray
SMALL = SimulationConfig(
    shards=4,
    steps_per_s=4.0,
    hidden_size=32,
    prompts=2,
    samples=3,
    answer_tokens=12,
    inner_width=8,
    exchange_share=0.5,
    warmup_s=8.0,
    seconds=6.0,
)


@pytest.fixture(scope="module")
def point(local_ray: None) -> Iterator[SimulatedPoint]:
    lines: list[str] = []
    yield run_points({"small": SMALL}, log=lines.append)["small"]
    assert any(line.startswith("measuring") for line in lines)


def test_every_work_unit_comes_back_once_and_every_row_is_accounted_for(point: SimulatedPoint) -> None:
    account = point.measured.account
    assert account.units_asked == account.units_returned > SMALL.leases, "every shard was given more than it can hold"
    assert account.units_returned_again == 0
    assert account.generated_rows == account.sent_rows + account.dropped_rows
    assert account.sent_rows == account.trained_rows > 0 and account.lost_rows == account.refused_rows == 0


def test_everything_measured_is_predicted_and_bytes_are_as_many(point: SimulatedPoint) -> None:
    rows = {row.quantity: row for row in point.comparisons()}
    assert rows.pop("rows dropped, %").predicted == 0
    assert rows.pop("object store, MB").predicted > 0, (
        "what Ray says now and then may be nothing: messages live for milliseconds"
    )
    assert [row for row in rows.values() if not (row.predicted > 0 and row.measured > 0)] == []
    ratio = rows["hidden states, MB/s"].ratio
    assert ratio is not None and 1 / 1.5 < ratio < 1.5
    measured = point.measured
    assert measured.lag >= 1
    weights = point.predicted.update_bytes_per_s / point.predicted.updates_per_s
    assert measured.update_bytes_per_s / measured.updates_per_s == pytest.approx(weights, rel=0.1)


def test_it_is_written_as_a_table_and_as_json(point: SimulatedPoint, tmp_path: Path) -> None:
    write_points(
        tmp_path / "out" / "simulation.json", {"small": point}, command="python -m jobs.devtools.simulate_exchange"
    )
    report = json.loads((tmp_path / "out" / "simulation.json").read_text())["points"]["small"]
    assert report["measured"]["account"]["units_returned_again"] == 0 and report["config"]["shards"] == 4
    assert markdown_table(points_table({"small": point})).count("\n") == 1 + len(report["comparisons"])


def test_impossible_simulations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"seconds must be > 0; got 0"):
        SimulationConfig(seconds=0)
    with pytest.raises(ValueError, match=r"shards must be >= 1; got 0\."):
        SimulationConfig(shards=0)
