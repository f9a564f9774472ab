"""Seconds that a DistillerTrainer's work takes on one kind of machine: measured on a CPU (actors/calibration.py), assumed for a GPU."""

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
    call_s: float
    """Per training call: Ray, and what does not grow with the rows."""
    group_s: float
    """Per group in a step."""
    flop_s: float
    """Per floating-point operation of the matrix products."""
    weight_byte_s: float
    """Per byte of the weights in a step: all passes over weights, gradient and moments together."""
    row_byte_s: float
    """Per byte of hidden states in a step."""
    publish_call_s: float
    """Per publication."""
    publish_byte_s: float
    """Per byte published: gathered, and put into the object store."""
    exchange_s: float
    """Of the way of a step to the trainer, and of its weights back, with nothing else on the way."""
    exchange_byte_s: float
    """Of the same per byte, rows and weights alike: copied in and out of the object store by the shard."""

    @classmethod
    def from_file(cls, path: Path = CALIBRATION) -> "TrainerCosts":
        """The constants that `python -m jobs.plan --calibrate` wrote. Raises ValueError if the file is none of its."""
        known = set(cls.__dataclass_fields__)
        stored: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(stored.get("costs"), dict) or set(stored["costs"]) != known:
            raise ValueError(f'{path} is no calibration: it must have an object "costs" with {sorted(known)}.')
        return cls(**stored["costs"])


ASSUMED_GPU = TrainerCosts(
    machine="a data-centre GPU, assumed: 1.5 TB/s, 20 TFLOP/s in fp32, 20 GB/s to the host",
    call_s=1.5e-3,
    group_s=60e-6,
    flop_s=1 / 2e13,
    weight_byte_s=11 / 1.5e12,
    row_byte_s=1 / 2e10,
    publish_call_s=1.0e-3,
    publish_byte_s=1 / 2e10 + 1 / 5e9,
    exchange_s=2e-3,
    exchange_byte_s=1 / 5e9 + 1 / 2e10,
)
"""Not measured: no GPU was at hand. 11 passes: weights read by three products and Adam, gradient written, read for its norm and by Adam,
moments read and written, weights written."""
