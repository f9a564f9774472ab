"""Numbers of the engine bench for people: a table and a plot."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from esamp.bench.engine_bench import BenchPoint


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeSummary:
    """One mode against stock, over rounds."""

    name: str
    tokens_per_s: float
    """Median."""
    step_ms: float
    cpu_ms: float
    ratio: float
    """Median over rounds of tokens/s by stock tokens/s of the same round."""
    ratio_p5: float
    """95 of 100 rounds are at least this."""
    ratio_p95: float
    step_ratio: float
    """The same ratio from the median step of each round: what a passing disturbance does not change."""
    ratios: list[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class PointSummary:
    """One shape."""

    label: str
    device: str
    threads: int
    entropy_nats: float
    loss_start: float
    loss_end: float
    bank_bytes_per_slot: float
    rounds: int
    modes: list[ModeSummary]


def point_summary(point: BenchPoint) -> PointSummary:
    """Medians and spread of one point."""
    stock = point.timings["stock"]
    modes = []
    for name, timings in point.timings.items():
        ratios = np.array([t.tokens_per_s / s.tokens_per_s for t, s in zip(timings, stock, strict=True)])
        step_ratios = [s.step_ms / t.step_ms for t, s in zip(timings, stock, strict=True)]
        modes.append(
            ModeSummary(
                name=name,
                tokens_per_s=float(np.median([t.tokens_per_s for t in timings])),
                step_ms=float(np.median([t.step_ms for t in timings])),
                cpu_ms=float(np.median([t.cpu_ms for t in timings])),
                ratio=float(np.median(ratios)),
                ratio_p5=float(np.percentile(ratios, 5)),
                ratio_p95=float(np.percentile(ratios, 95)),
                step_ratio=float(np.median(step_ratios)),
                ratios=ratios.tolist(),
            )
        )
    return PointSummary(
        label=point.shape.label,
        device=point.device,
        threads=point.threads,
        entropy_nats=point.entropy_nats,
        loss_start=point.loss_start,
        loss_end=point.loss_end,
        bank_bytes_per_slot=point.bank_bytes / point.shape.prompts,
        rounds=len(stock),
        modes=modes,
    )


def bench_table(point: PointSummary) -> Table:
    """One point."""
    table = Table(
        title=(
            f"{point.label}\n{point.device}, {point.threads} thread(s), {point.rounds} rounds; entropy {point.entropy_nats:.2f} nats; "
            f"distiller loss {point.loss_start:.3g} -> {point.loss_end:.3g}; {point.bank_bytes_per_slot / 2**20:.1f} MiB per slot"
        ),
        title_justify="left",
    )
    for column in ("mode", "tokens/s", "ms/step", "CPU ms/step", "of stock", "5%..95% of rounds", "by median step"):
        table.add_column(column, justify="left" if column == "mode" else "right")
    for mode in point.modes:
        table.add_row(
            mode.name,
            f"{mode.tokens_per_s:,.0f}",
            f"{mode.step_ms:.2f}",
            f"{mode.cpu_ms:.2f}",
            f"{mode.ratio:.3f}",
            f"{mode.ratio_p5:.3f}..{mode.ratio_p95:.3f}",
            f"{mode.step_ratio:.3f}",
        )
    return table


def plot_points(points: list[PointSummary], path: Path) -> None:
    """Ratios to stock, every round a dot, one panel per shape."""
    figure = Figure(figsize=(9, 2.6 * len(points) + 0.6), layout="constrained")
    for index, point in enumerate(points):
        axes = figure.add_subplot(len(points), 1, index + 1)
        for row, mode in enumerate(point.modes):
            axes.plot(mode.ratios, [row] * len(mode.ratios), "o", color="tab:blue", alpha=0.35, markersize=5)
            axes.plot([mode.ratio], [row], "|", color="black", markersize=16, markeredgewidth=2)
        axes.axvline(1.0, color="grey", linewidth=0.8)
        axes.set_yticks(range(len(point.modes)), [mode.name for mode in point.modes])
        axes.invert_yaxis()
        axes.set_title(f"{point.label}\n{point.device}, {point.threads} thread(s)", fontsize=9)
    figure.supxlabel("tokens/s by stock vLLM of the same round (bar: median)", fontsize=9)
    figure.savefig(path, dpi=150)
