"""Calibration for people: measures this machine, and sets what was measured beside what the constants make of it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from actors.devtools.calibration import calibrate, write_calibration
from pipelines.stages.ray_session import connected_ray

CPUS = 2
"""Of the Ray that is started, beside the machine's: for actors that take none."""


def run_calibration(path: Path, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and write to `path`. Starts a Ray of its own, unless one runs."""
    with connected_ray(CPUS):
        measured = calibrate(tell=tell)
    write_calibration(measured, path)
    return measured


def calibration_lines(measured: dict[str, Any]) -> list[str]:
    """The constants, and how well they fit."""
    costs, errors = measured["costs"], sorted(map(fit_error, measured["points"]))
    objects = ", ".join(
        f"{timing['num_bytes'] // 2**10:,} KiB {timing['put_ms']:.1f} and {timing['get_ms']:.1f} ms"
        for timing in measured["objects"]
    )
    return [
        f"{costs['machine']}:",
        f"a letter {1e3 * costs['letter_s']:.2f} ms; a step in it {1e3 * costs['step_s']:.2f} ms, {1e6 * costs['group_s']:.0f} µs a group, "
        f"{speed(costs['flop_s'], 'GFLOP/s')}, {speed(costs['weight_byte_s'])} of weights, {speed(costs['row_byte_s'])} of states;",
        f"a publication {1e3 * costs['publish_s']:.2f} ms, {speed(costs['publish_byte_s'])}; the way of a letter and its answer "
        f"{1e3 * costs['way_s']:.1f} ms;",
        f"a shard's processor {1e3 * costs['send_s']:.2f} ms a letter, {speed(costs['send_byte_s'])}, and {1e3 * costs['take_s']:.2f} ms a "
        f"publication, {speed(costs['take_byte_s'])}.",
        f"Letters of one step are fitted within {errors[-1]:.0%}, half of them within {errors[len(errors) // 2]:.0%}.",
        f"An object, put and copied out: {objects}.",
    ]


def calibration_table(measured: dict[str, Any]) -> Table:
    """A row per point."""
    table = Table(title="\n".join(calibration_lines(measured)), title_justify="left")
    headings = {
        "hidden": "hidden_size",
        "width": "inner_width",
        "groups": "groups",
        "rows a group": "rows_per_group",
    }
    timings = {
        "step,\ncalled": "direct_ms",
        "letter of\n1 step": "queued_ms",
        "letter,\nfitted": "fitted_train_ms",
        "letter of\n4 steps": "long_letter_ms",
        "weights": "publish_ms",
        "weights,\nfitted": "fitted_publish_ms",
        "there and\nback": "round_trip_ms",
        "shard's time,\nletter": "send_ms",
        "shard's time,\nweights": "take_ms",
    }
    for heading in (*headings, *timings):
        table.add_column(heading, justify="right")
    for timing in measured["points"]:
        shape = [str(timing["point"][name]) for name in headings.values()]
        table.add_row(*shape, *(f"{timing[name]:.3g}" for name in timings.values()))
    return table


def fit_error(timing: dict[str, Any]) -> float:
    """Of a letter of one step: by how much the longer of measured and fitted is longer."""
    error: float = math.exp(abs(math.log(timing["fitted_train_ms"] / timing["queued_ms"]))) - 1
    return error


def speed(seconds: float, unit: str = "GB/s") -> str:
    """Seconds per byte or operation as a speed."""
    return f"{1e-9 / seconds:.2g} {unit}" if seconds > 0 else "no time"
