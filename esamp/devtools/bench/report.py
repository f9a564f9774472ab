"""Numbers of the engine bench for people: a table and a plot."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from esamp.devtools.bench.engine_bench import BenchPoint
from esamp.devtools.bench.model_cost import ModelShape, PolicyCost
from esamp.devtools.bench.shape import Shape
from esamp.devtools.bench.slot_scaling import SlotCost


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeSummary:
    """One mode against stock, over rounds."""

    name: str
    tokens_per_s: float
    """Median."""
    step_ms: float
    cpu_ms: float
    stock_cpu_ms: float
    """Of the stock engine that took turns with it."""
    ratio: float
    """Median over rounds of tokens/s by those of the stock engine that took turns with it."""
    ratio_p5: float
    """95 of 100 rounds are at least this."""
    ratio_p95: float
    step_ratio: float
    """The same ratio from the median step of each round: what a passing disturbance does not change."""
    ratios: list[float]
    host_syncs: float | None
    """Times per decode step that the host waited for the GPU; None without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PointSummary:
    """One shape."""

    label: str
    device: str
    threads: int
    dtype: str
    entropy_nats: float
    loss_start: float
    loss_end: float
    bank_bytes_per_slot: float
    rounds: int
    modes: list[ModeSummary]


def point_summary(point: BenchPoint) -> PointSummary:
    """Medians and spread of one point."""
    modes = []
    for name, pairs in point.pairs.items():
        ratios = np.array([pair.ours.tokens_per_s / pair.stock.tokens_per_s for pair in pairs])
        step_ratios = [pair.stock.step_ms / pair.ours.step_ms for pair in pairs]
        modes.append(
            ModeSummary(
                name=name,
                tokens_per_s=float(np.median([pair.ours.tokens_per_s for pair in pairs])),
                step_ms=float(np.median([pair.ours.step_ms for pair in pairs])),
                stock_cpu_ms=float(np.median([pair.stock.cpu_ms for pair in pairs])),
                cpu_ms=float(np.median([pair.ours.cpu_ms for pair in pairs])),
                ratio=float(np.median(ratios)),
                ratio_p5=float(np.percentile(ratios, 5)),
                ratio_p95=float(np.percentile(ratios, 95)),
                step_ratio=float(np.median(step_ratios)),
                ratios=ratios.tolist(),
                host_syncs=point.host_syncs[name],
            )
        )
    return PointSummary(
        label=point.shape.label,
        device=point.device,
        threads=point.threads,
        dtype=point.dtype,
        entropy_nats=point.entropy_nats,
        loss_start=point.loss_start,
        loss_end=point.loss_end,
        bank_bytes_per_slot=point.bank_bytes / point.shape.prompts,
        rounds=len(modes[0].ratios),
        modes=modes,
    )


def bench_table(point: PointSummary) -> Table:
    """One point."""
    table = Table(
        title=(
            f"{point.label}\n{point.device}, {point.dtype}, {point.threads} thread(s), {point.rounds} rounds; "
            f"entropy {point.entropy_nats:.2f} nats; distiller loss {point.loss_start:.3g} -> {point.loss_end:.3g}; "
            f"{point.bank_bytes_per_slot / 2**20:.1f} MiB per slot"
        ),
        title_justify="left",
    )
    for column in (
        "mode",
        "tokens/s",
        "ms",
        "CPU ms",
        "CPU of\nstock",
        "tokens/s\nof stock",
        "5%..95%\nof rounds",
        "by median\nstep",
        "syncs",
    ):
        table.add_column(column, justify="left" if column == "mode" else "right", no_wrap=True)
    for mode in point.modes:
        table.add_row(
            mode.name,
            f"{mode.tokens_per_s:,.0f}",
            f"{mode.step_ms:.2f}",
            f"{mode.cpu_ms:.2f}",
            f"{mode.cpu_ms / mode.stock_cpu_ms:.3f}",
            f"{mode.ratio:.3f}",
            f"{mode.ratio_p5:.3f}..{mode.ratio_p95:.3f}",
            f"{mode.step_ratio:.3f}",
            "" if mode.host_syncs is None else f"{mode.host_syncs:.1f}",
        )
    return table


def slot_table(costs: list[SlotCost], shape: Shape) -> Table:
    """Memory and time of a bank as its slots grow."""
    table = Table(
        title=f"one bank, hidden {shape.hidden}, inner width {shape.inner_width}, {costs[0].rows_per_slot} row per slot and step",
        title_justify="left",
    )
    for column in ("slots", "MiB", "predict ms", "train ms", "ms per slot"):
        table.add_column(column, justify="right")
    for cost in costs:
        total_ms = cost.predict_ms + cost.train_ms
        table.add_row(
            str(cost.slots),
            f"{cost.bank_bytes / 2**20:,.1f}",
            f"{cost.predict_ms:.2f}",
            f"{cost.train_ms:.2f}",
            f"{total_ms / cost.slots:.3f}",
        )
    return table


def plot_points(points: list[PointSummary], costs: list[SlotCost], path: Path) -> None:
    """Ratios to stock, every round a dot, one panel per shape; below, a bank's time as its slots grow."""
    panels = len(points) + 1
    figure = Figure(figsize=(9, 2.6 * panels + 0.6), layout="constrained")
    slots = figure.add_subplot(panels, 1, panels)
    slots.plot([c.slots for c in costs], [c.predict_ms for c in costs], "o-", label="predict")
    slots.plot([c.slots for c in costs], [c.train_ms for c in costs], "s--", label="train")
    slots.set(xscale="log", yscale="log", xlabel="Distiller slots in the step", ylabel="ms")
    slots.legend()
    for index, point in enumerate(points):
        axes = figure.add_subplot(panels, 1, index + 1)
        for row, mode in enumerate(point.modes):
            axes.plot(mode.ratios, [row] * len(mode.ratios), "o", color="tab:blue", alpha=0.35, markersize=5)
            axes.plot([mode.ratio], [row], "|", color="black", markersize=16, markeredgewidth=2)
        axes.axvline(1.0, color="grey", linewidth=0.8)
        axes.set_yticks(range(len(point.modes)), [mode.name for mode in point.modes])
        axes.invert_yaxis()
        axes.set_xlabel("tokens/s by those of stock vLLM in turns with it (bar: median)", fontsize=9)
        axes.set_title(f"{point.label}\n{point.device}, {point.threads} thread(s)", fontsize=9)
    figure.savefig(path, dpi=150)


def cost_table(costs: list[PolicyCost], shape: ModelShape, caption: str) -> Table:
    """Policies on one model against stock vLLM: medians over rounds, and the range that holds 90% of them."""
    table = Table(
        title=f"relative to stock vLLM with seeds: {shape.prompts} prompts x {shape.samples} samples, {shape.threads} thread(s)",
        caption=caption,
    )
    for heading in (
        "sampler",
        "processor time",
        "5-95%",
        "tokens/s of stock",
        "tokens/s",
        "ms per step (processor)",
        "stock's",
        "rounds",
        "unfused steps",
    ):
        table.add_column(heading, justify="left" if heading == "sampler" else "right")
    for cost in costs:
        low, middle, high = np.percentile(cost.cpu_ratios, [5, 50, 95])
        table.add_row(
            cost.name,
            f"{middle:.3f}",
            f"{low:.3f}-{high:.3f}",
            f"{np.median(cost.speed_ratios):.2f}",
            f"{cost.tokens_per_s:,.0f}",
            f"{cost.cpu_ms:.1f}",
            f"{cost.stock_cpu_ms:.1f}",
            f"{len(cost.cpu_ratios)}",
            f"{cost.unfused_steps}",
        )
    return table
