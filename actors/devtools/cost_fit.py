"""Constants of actors/capacity/trainer_costs.py from timings (actors/devtools/calibration.py): non-negative least squares on logarithms,
so that a toy's step counts as much as a 7B model's, and a fit that is twice too long as much as one that is twice too short."""

import os
import platform
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from actors.capacity.trainer_costs import TrainerCosts

ROUNDS = 30
"""Of fits, each weighted by the one before; a few would do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationPoint:
    """Shape of a step."""

    hidden_size: int
    inner_width: int
    groups: int
    rows_per_group: int

    def __str__(self) -> str:
        return f"hidden {self.hidden_size}, width {self.inner_width}, {self.groups} x {self.rows_per_group} rows"

    @property
    def rows(self) -> int:
        """Of a step."""
        return self.groups * self.rows_per_group

    @property
    def weight_bytes(self) -> int:
        """Of the weights of all groups."""
        return 4 * self.groups * (3 * self.inner_width * self.hidden_size + self.hidden_size)

    @property
    def row_bytes(self) -> int:
        """Of a step's hidden states."""
        return 8 * self.rows * self.hidden_size

    @property
    def flops(self) -> int:
        """Of a training step's matrix products."""
        return 14 * self.hidden_size * self.inner_width * self.rows


@dataclass(frozen=True, kw_only=True, slots=True)
class PointTiming:
    """Medians, in ms."""

    point: CalibrationPoint
    direct_ms: float
    """A step, DistillerTrainer.train called."""
    queued_ms: float
    """A letter of one step through Ray, of a queue."""
    long_letter_ms: float
    """The same with several steps."""
    publish_ms: float
    """What a letter takes longer that is answered with weights."""
    round_trip_ms: float
    """From ActorLearner.learn to weights that have learned from it."""
    send_ms: float
    """Processor time of a shard for a letter."""
    take_ms: float
    """The same for weights."""


def fit_costs(timings: list[PointTiming], *, long_letter: int) -> TrainerCosts:
    """Constants; `long_letter`: steps in a letter of several."""
    points = [timing.point for timing in timings]
    letters = fit(
        [
            (1.0, k, k * p.groups, k * p.flops, k * p.weight_bytes, k * p.row_bytes)
            for k in (1, long_letter)
            for p in points
        ],
        [timing.queued_ms for timing in timings] + [timing.long_letter_ms for timing in timings],
    )
    publications = fit([(1.0, p.weight_bytes) for p in points], [timing.publish_ms for timing in timings])
    sending = fit([(1.0, p.row_bytes) for p in points], [timing.send_ms for timing in timings])
    taking = fit([(1.0, p.weight_bytes) for p in points], [timing.take_ms for timing in timings])
    ways = [timing.round_trip_ms - timing.queued_ms - timing.publish_ms - timing.take_ms for timing in timings]
    return TrainerCosts(
        machine=f"{processor_name()}, one thread, {date.today().isoformat()}",
        letter_s=letters[0],
        step_s=letters[1],
        group_s=letters[2],
        flop_s=letters[3],
        weight_byte_s=letters[4],
        row_byte_s=letters[5],
        publish_s=publications[0],
        publish_byte_s=publications[1],
        way_s=max(0.0, float(np.median(ways)) / 1000),
        send_s=sending[0],
        send_byte_s=sending[1],
        take_s=taking[0],
        take_byte_s=taking[1],
    )


def fit(features: list[tuple[float, ...]], milliseconds: list[float]) -> list[float]:
    """Seconds per unit of each feature."""
    seconds, matrix = np.array(milliseconds) / 1000, np.array(features, dtype=float)
    fitted = seconds
    for _ in range(ROUNDS):
        # log(fitted / seconds) is about their difference by their geometric mean.
        mean = np.sqrt(fitted * seconds)
        weighted = matrix / mean[:, None]
        scale = weighted.max(0)
        constants = nnls(weighted / scale, seconds / mean)[0] / scale
        fitted = matrix @ constants
    return [float(constant) for constant in constants]


def fitted_ms(timings: list[PointTiming], costs: TrainerCosts) -> list[tuple[float, float]]:
    """What the constants give for each point: a letter of one step, and a publication."""
    return [
        (
            1000
            * (
                costs.letter_s
                + costs.step_s
                + p.groups * costs.group_s
                + p.flops * costs.flop_s
                + p.weight_bytes * costs.weight_byte_s
                + p.row_bytes * costs.row_byte_s
            ),
            1000 * (costs.publish_s + p.weight_bytes * costs.publish_byte_s),
        )
        for p in (timing.point for timing in timings)
    ]


def processor_name() -> str:
    """As the kernel has it."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
