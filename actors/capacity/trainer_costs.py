"""Seconds that a DistillerTrainer's work takes on one kind of machine: measured on a CPU (actors/devtools/calibration.py), assumed for a
GPU."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALIBRATION = Path(__file__).with_name("calibration.json")
"""What was measured on the machine this project is developed on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerCosts:
    """Seconds of a trainer's work on one kind of machine."""

    machine: str
    """What was measured, and when; or on what it is assumed."""
    letter_s: float
    """Per letter: Ray, and what does not grow with its steps."""
    step_s: float
    """Per decode step in a letter."""
    group_s: float
    """Per group in a step."""
    flop_s: float
    """Per floating-point operation of the matrix products."""
    weight_byte_s: float
    """Per byte of the weights in a step: all passes over weights, gradient and moments together."""
    row_byte_s: float
    """Per byte of hidden states in a step."""
    publish_s: float
    """Per publication."""
    publish_byte_s: float
    """Per byte published: gathered, and put into the object store."""
    way_s: float
    """Of a letter and its answer, with nothing else on the way: calls, and threads that must notice them."""
    send_s: float
    """Processor time of a shard per letter."""
    send_byte_s: float
    """The same per byte of hidden states."""
    take_s: float
    """Processor time of a shard per publication."""
    take_byte_s: float
    """The same per byte of weights."""

    @classmethod
    def from_file(cls, path: Path = CALIBRATION) -> "TrainerCosts":
        """The constants that `python -m jobs.plan --calibrate` wrote. Raises ValueError if the file is none of its."""
        known = set(cls.__dataclass_fields__)
        stored: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(stored.get("costs"), dict) or set(stored["costs"]) != known:
            raise ValueError(f'{path} is no calibration: it must have an object "costs" with {sorted(known)}.')
        return cls(**stored["costs"])


ASSUMED_GPU = TrainerCosts(
    machine="a data-centre GPU, assumed: 1.5 TB/s, 20 TFLOP/s in fp32, 20 GB/s to the host, 5 GB/s into the object store",
    letter_s=1.5e-3,
    step_s=0.5e-3,
    group_s=60e-6,
    flop_s=1 / 2e13,
    weight_byte_s=11 / 1.5e12,
    row_byte_s=1 / 2e10,
    publish_s=0.5e-3,
    publish_byte_s=1 / 2e10 + 1 / 5e9,
    way_s=3e-3,
    send_s=1e-3,
    send_byte_s=1 / 5e9,
    take_s=0.5e-3,
    take_byte_s=1 / 5e9 + 1 / 2e10,
)
"""Not measured: no GPU was at hand. 11 passes: weights read by three products and Adam, gradient written, read for its norm and by Adam,
moments read and written, weights written."""
