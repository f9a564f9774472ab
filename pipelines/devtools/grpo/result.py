"""What a training leaves.

Legend: E evaluations, P held-out problems.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.devtools.grpo.config import GrpoConfig
from pipelines.errors import InputError
from pipelines.runs.storage import write_atomically

HELD_OUT_SAMPLES = 16


@dataclass(kw_only=True, slots=True)
class GrpoResult:
    """One training."""

    condition: str
    seed: int
    recipe: dict[str, float]
    evaluated_at: list[int] = field(default_factory=list)
    """Steps after which held-out problems were sampled; 0 is the model before training."""
    correct_EP: list[list[int]] = field(default_factory=list)
    """Correct samples of each held-out problem, of HELD_OUT_SAMPLES, at each evaluation."""
    rewards: list[float] = field(default_factory=list)
    """Mean reward of each step's samples."""
    ratios: list[float] = field(default_factory=list)
    """Mean importance ratio per token of each step, truncated at 3; empty without correction."""
    largest_ratios: list[float] = field(default_factory=list)
    """The largest of each step."""
    sampling_s: float = 0.0
    """Seconds of generating the samples that were trained on."""
    training_s: float = 0.0
    """Seconds of everything else but evaluation: forward and backward passes, and new weights for the engine."""


def save(result: GrpoResult, path: Path) -> None:
    """Write a result, in full or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(result)).encode())


def read_result(config: GrpoConfig, path: Path) -> GrpoResult:
    """What `save` wrote. Raises InputError if it is of another recipe."""
    result = GrpoResult(**json.loads(path.read_text()))
    if result.recipe != config.recipe:
        raise InputError(
            f"{path} is of a training with {result.recipe}, this one has {config.recipe}; give another --output."
        )
    return result
