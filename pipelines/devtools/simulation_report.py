"""The capacity model against a simulation: the same quantities predicted and measured, as a table and as JSON."""

import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from rich.table import Table

from actors.capacity.model import Capacity, estimate_capacity
from actors.capacity.trainer_costs import MEASURED_CPU
from actors.devtools.simulation.config import SimulationConfig
from actors.devtools.simulation.measures import Measured
from actors.devtools.simulation.run import simulate
from pipelines.capacity.run import DRIVER_BYTES, DRIVER_BYTES_PER_UNIT
from pipelines.stages.ray_session import connected_ray

CPUS = 2
"""Of the Ray that is started, in place of the machine's own count: simulated actors sleep most of the time."""
STARTS_PER_WARNING = 4
"""Ray warns when this many times the processes that it may start at once wait; the limit is set so that it does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One quantity."""

    quantity: str
    predicted: float
    measured: float

    @property
    def ratio(self) -> float | None:
        """Measured by predicted; None where one of them is 0."""
        return self.measured / self.predicted if self.predicted > 0 and self.measured > 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedPoint:
    """A simulation, and what the model predicts for it."""

    config: SimulationConfig
    predicted: Capacity
    measured: Measured

    def comparisons(self) -> list[Comparison]:
        """Of everything that was measured."""
        config, predicted, measured = self.config, self.predicted, self.measured
        d = config.steps_per_s
        units_per_s = config.shards * config.prompts * d / config.answer_tokens
        driver_bytes = DRIVER_BYTES + measured.account.units_asked * DRIVER_BYTES_PER_UNIT
        pairs = {
            "decode steps/s of a shard": (d, measured.steps_per_s),
            "hidden states, MB/s": (
                config.shards * predicted.hidden_bytes_per_s / 1e6,
                measured.hidden_bytes_per_s / 1e6,
            ),
            "rows learned from, /s": (predicted.trained_rows_per_s, measured.trained_rows_per_s),
            "rows dropped, %": (100 * predicted.dropped_share, 100 * measured.dropped_share),
            "steps in a message": (predicted.steps_per_message, measured.steps_per_message),
            "trainer busy, % of the clock": (100 * predicted.trainer_busy, 100 * measured.trainer_busy),
            "trainer's processor, %": (100 * predicted.trainer_busy, 100 * measured.trainer_processor),
            "weight updates/s": (predicted.updates_per_s, measured.updates_per_s),
            "weights, MB/s": (predicted.update_bytes_per_s / 1e6, measured.update_bytes_per_s / 1e6),
            "lag, steps": (predicted.lag, measured.lag),
            "a shard's time for the exchange, %": (100 * predicted.exchange_time, 100 * measured.exchange_time),
            "object store, MB": (predicted.object_store_bytes / 1e6, measured.object_store_bytes / 1e6),
            "driver, MB": (driver_bytes / 1e6, measured.driver_bytes / 1e6),
            "router calls/s": (2 * units_per_s, measured.router_calls_per_s),
            "a unit waits for a shard, s": ((config.callers - config.leases) / units_per_s, measured.unit_wait_s),
        }
        return [Comparison(quantity=name, predicted=p, measured=m) for name, (p, m) in pairs.items()]

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "config": asdict(self.config),
            "predicted": asdict(self.predicted),
            "measured": asdict(self.measured),
            "comparisons": [{**asdict(c), "ratio": c.ratio} for c in self.comparisons()],
        }


def run_points(configs: Mapping[str, SimulationConfig], *, log: Callable[[str], None]) -> dict[str, SimulatedPoint]:
    """Simulate one after the other; predicted with the constants of MEASURED_CPU. Starts a Ray of its own, unless one runs."""
    most = max(config.shards for config in configs.values())
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(most // STARTS_PER_WARNING + CPUS))
    points: dict[str, SimulatedPoint] = {}
    with connected_ray(CPUS):
        for name, config in configs.items():
            log(f"{name}: {describe(config)}")
            points[name] = SimulatedPoint(
                config=config,
                predicted=estimate_capacity(config.inputs, MEASURED_CPU),
                measured=simulate(config, log=log),
            )
    return points


def describe(config: SimulationConfig) -> str:
    """A simulation in a line."""
    return (
        f"{config.shards} shards x {config.steps_per_s:g} steps/s of {config.prompts} x {config.samples} rows, hidden "
        f"{config.hidden_size}, width {config.inner_width}, {config.answer_tokens} steps a unit, scope {config.scope}, "
        f"{config.trainers} trainer(s)"
    )


def points_table(points: Mapping[str, SimulatedPoint]) -> Table:
    """A column per point: predicted, measured, and measured by predicted."""
    table = Table()
    table.add_column("predicted / measured (ratio)")
    for name in points:
        table.add_column(name, justify="right")
    for of_quantity in zip(*(point.comparisons() for point in points.values()), strict=True):
        cells = [
            f"{digits(c.predicted)} / {digits(c.measured)}" + ("" if c.ratio is None else f" ({c.ratio:.2f})")
            for c in of_quantity
        ]
        table.add_row(of_quantity[0].quantity, *cells)
    return table


def digits(value: float) -> str:
    """Three of them."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_points(path: Path, points: Mapping[str, SimulatedPoint], *, command: str) -> None:
    """Everything, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "command": command,
        "machine": f"{platform.node()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "date": date.today().isoformat(),
        "points": {name: point.to_dict() for name, point in points.items()},
    }
    path.write_text(json.dumps(report, indent=1) + "\n")
