"""Capacity plans for people: a verdict in words, a table, a plot, and the same as JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from rich.table import Table

from actors.capacity.inputs import CapacityInputs
from actors.capacity.model import Capacity, plan_capacity
from actors.capacity.trainer_costs import TrainerCosts
from pipelines.capacity.advice import verdict
from pipelines.report.figures.style import STYLE, colour, marker


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One row of the table."""

    model: str
    inputs: CapacityInputs
    capacity: Capacity
    verdict: str

    def to_dict(self) -> dict[str, object]:
        """Plain values; infinite bandwidth is null."""
        inputs = asdict(self.inputs)
        if math.isinf(self.inputs.network_bytes_per_s):
            inputs["network_bytes_per_s"] = None
        return {"model": self.model, "inputs": inputs, "capacity": asdict(self.capacity), "verdict": self.verdict}


def make_plan(model: str, inputs: CapacityInputs, costs: TrainerCosts) -> Plan:
    """A plan with its verdict."""
    return Plan(model=model, inputs=inputs, capacity=plan_capacity(inputs, costs), verdict=verdict(inputs, costs))


def plan_table(plans: Sequence[Plan], *, title: str) -> Table:
    """One row per plan."""
    table = Table(title=title, title_justify="left")
    for heading in ("model", "scope", "trainer"):
        table.add_column(heading)
    for heading in (
        "shards",
        "states\nMB/s each",
        "GB/s\nin all",
        "load",
        "rows\ndropped",
        "weights\nGB/s in all",
        "lag,\nsteps",
        "trainer\nGiB each",
        "shard\nGiB",
        "stores\nGiB in all",
    ):
        table.add_column(heading, justify="right")
    table.add_column("verdict", min_width=30)
    for plan, after in zip_longest(plans, plans[1:]):
        ends = after is not None and (after.inputs.scope, after.inputs.trainer) != (
            plan.inputs.scope,
            plan.inputs.trainer,
        )
        table.add_row(*plan_cells(plan), end_section=ends)
    return table


def plan_cells(plan: Plan) -> list[str]:
    """A row of the table."""
    inputs, capacity = plan.inputs, plan.capacity
    placement = "local" if inputs.trainer == "local" else f"actor x {inputs.trainers}"
    numbers = [
        f"{inputs.shards:,}",
        number(capacity.hidden_bytes_per_s / 1e6),
        number(capacity.total_hidden_bytes_per_s / 1e9),
        f"{capacity.load:.2f}" if capacity.load < 10 else f"{capacity.load:,.0f}",
        f"{capacity.dropped_share:.0%}",
        number(capacity.publication_bytes_per_s / 1e9),
        f"{capacity.lag:,.0f}" if capacity.lag >= 10 else f"{capacity.lag:.1f}",
        number(capacity.trainer_bytes / 2**30),
        number(capacity.shard_bytes / 2**30),
        number(capacity.object_store_bytes / 2**30),
    ]
    return [plan.model, inputs.scope, placement, *numbers, plan.verdict]


def number(value: float) -> str:
    """Three digits, or a dash for nothing."""
    if value == 0:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot_plans(plans: Sequence[Plan], path: Path) -> None:
    """Load and lag over shards: a row per model, a line per scope and placement."""
    models = list(dict.fromkeys(plan.model for plan in plans))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.8 * len(models) + 0.4), layout="constrained")
        grid = figure.subplots(len(models), 2, squeeze=False)
        for (load, lag), model in zip(grid, models, strict=True):
            lines: dict[tuple[str, str], list[Plan]] = {}
            for plan in plans:
                if plan.model == model:
                    lines.setdefault((plan.inputs.scope, plan.inputs.trainer), []).append(plan)
            for index, ((scope, trainer), line) in enumerate(lines.items()):
                shards = [plan.inputs.shards for plan in line]
                look = {"color": colour(index), "marker": marker(index), "label": f"{scope}, {trainer}"}
                load.plot(shards, [plan.capacity.load for plan in line], **look)
                lag.plot(shards, [plan.capacity.lag for plan in line], **look)
            load.axhline(1.0, color="grey", linewidth=0.8)
            load.set(xscale="log", yscale="log", xlabel="shards", ylabel="load", title=f"{model}: load (1: saturated)")
            lag.set(
                xscale="log", yscale="log", xlabel="shards", ylabel="decode steps", title=f"{model}: lag of the weights"
            )
            lag.legend(fontsize=7, loc="upper left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
