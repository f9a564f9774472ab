"""Capacity estimates for people: a table, the same as Markdown or JSON, and a plot."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from rich.table import Table

from pipelines.capacity.exchange import ExchangeCapacity
from pipelines.report.figures.style import STYLE, colour, marker

NUMBER_HEADINGS = (
    "shards", "states\nMB/s each", "GB/s\nin all", "load", "rows\ndropped", "weights\nGB/s in all", "lag,\nsteps", "trainer\nGiB each",
    "shard\nGiB", "stores\nGiB in all",
)  # fmt: skip
ADVICE = "advice"


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """One row of the table."""

    model: str
    capacity: ExchangeCapacity

    def to_dict(self) -> dict[str, object]:
        """Plain values; infinite bandwidth is null."""
        inputs = asdict(self.capacity.inputs)
        if math.isinf(self.capacity.inputs.network_bytes_per_s):
            inputs["network_bytes_per_s"] = None
        return {
            "model": self.model,
            "inputs": inputs,
            "costs": self.capacity.costs.machine,
            "capacity": asdict(self.capacity.estimate),
            "advice": self.capacity.advice,
        }

    @property
    def line(self) -> tuple[str, str]:
        """Scope and trainer: rows that differ in nothing but shards are a block of the table, and a line of the plot."""
        return self.capacity.inputs.scope, self.capacity.inputs.trainer

    def cells(self) -> list[str]:
        """As the table shows them."""
        inputs, estimate = self.capacity.inputs, self.capacity.estimate
        placement = "local" if inputs.trainer == "local" else f"actor x {inputs.trainers}"
        numbers = [
            f"{inputs.shards:,}",
            digits(estimate.hidden_bytes_per_s / 1e6),
            digits(inputs.shards * estimate.hidden_bytes_per_s / 1e9),
            f"{estimate.load:.2f}" if estimate.load < 10 else f"{estimate.load:,.0f}",
            f"{estimate.dropped_share:.0%}",
            digits(estimate.update_bytes_per_s / 1e9),
            f"{estimate.lag:,.0f}" if estimate.lag >= 10 else f"{estimate.lag:.1f}",
            digits(estimate.trainer_bytes / 2**30),
            digits(estimate.shard_bytes / 2**30),
            digits(estimate.object_store_bytes / 2**30),
        ]
        return [self.model, inputs.scope, placement, *numbers, self.capacity.advice]


def capacity_table(rows: Sequence[CapacityRow], *, title: str) -> Table:
    """A line between rows of another scope or trainer."""
    table = Table(title=title, title_justify="left")
    for heading in ("model", "scope", "trainer"):
        table.add_column(heading)
    for heading in NUMBER_HEADINGS:
        table.add_column(heading, justify="right")
    table.add_column(ADVICE, min_width=30)
    for row, after in zip_longest(rows, rows[1:]):
        table.add_row(*row.cells(), end_section=after is not None and after.line != row.line)
    return table


def markdown_table(table: Table, *, without: str | None = None) -> str:
    """A rich table of plain cells as Markdown; `without` names a column to leave out."""
    columns = [column for column in table.columns if column.header != without]
    header = [" ".join(str(column.header).split()) for column in columns]
    rule = ["---:" if column.justify == "right" else "---" for column in columns]
    rows = zip(*(map(str, column.cells) for column in columns), strict=True)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def digits(value: float) -> str:
    """Three of them; a dash for nothing."""
    if value == 0:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot_capacity(rows: Sequence[CapacityRow], path: Path) -> None:
    """Load and lag over shards: a row per model, a line per scope and trainer."""
    models = list(dict.fromkeys(row.model for row in rows))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.8 * len(models) + 0.4), layout="constrained")
        grid = figure.subplots(len(models), 2, squeeze=False)
        for (load, lag), model in zip(grid, models, strict=True):
            lines: dict[tuple[str, str], list[ExchangeCapacity]] = {}
            for row in rows:
                if row.model == model:
                    lines.setdefault(row.line, []).append(row.capacity)
            for index, (name, line) in enumerate(lines.items()):
                shards = [capacity.inputs.shards for capacity in line]
                look = {"color": colour(index), "marker": marker(index), "label": ", ".join(name)}
                load.plot(shards, [capacity.estimate.load for capacity in line], **look)
                lag.plot(shards, [capacity.estimate.lag for capacity in line], **look)
            load.axhline(1.0, color="grey", linewidth=0.8)
            load.set(xscale="log", yscale="log", xlabel="shards", ylabel="load", title=f"{model}: load (1: saturated)")
            lag.set(
                xscale="log", yscale="log", xlabel="shards", ylabel="decode steps", title=f"{model}: lag of weights"
            )
            lag.legend(fontsize=7, loc="upper left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
