"""What is said of GRPO trainings; and one, by TRL, from our engine's samples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.devtools.grpo.config import GrpoConfig
from pipelines.devtools.grpo.curves import curves_of, figure, table
from pipelines.devtools.grpo.result import GrpoResult, read_result, save
from pipelines.errors import InputError
from tests.pipelines.rollouts.test_trainers import MADE, ROOT, skip_unless


def result(condition: str, seed: int, *after_two: int) -> GrpoResult:
    """A training that ends with so many of 16 samples correct, of each of two problems; it began with 4 and 0."""
    return GrpoResult(
        condition=condition,
        seed=seed,
        recipe=GrpoConfig().recipe,
        evaluated_at=[0, 2],
        correct_EP=[[4, 0], list(after_two)],
        rewards=[0.5, 0.5],
        sampling_s=4.0,
        training_s=2.0,
    )


def test_the_table_has_means_over_trainings_and_differences_of_the_same_seeds() -> None:
    curves = curves_of(
        [result("vanilla", 0, 8, 0), result("vanilla", 1, 16, 0), result("quasi", 1, 16, 8), result("esamp", 0, 8, 0)]
    )
    lines = table(curves)
    assert "| vanilla | 1 | 12.5 | 37.5 |" in lines and "| vanilla | 16 | 50.0 | 50.0 |" in lines
    assert "| quasi | 1 | 12.5 | 75.0 |" in lines
    assert "| vanilla | 2 | 2.00 | 1.00 | - |" in lines
    # Of seed 1 alone, which both have: 0 and +50 points.
    assert [line for line in lines if line.startswith("| quasi | 1 | +25.0 [")]
    assert [line for line in lines if line.startswith("| esamp | 1 | +0.0 [")]
    assert len(figure(curves).axes) == 2


def test_a_result_of_another_recipe_is_refused(tmp_path: Path) -> None:
    save(result("vanilla", 0, 8, 0), tmp_path / "vanilla-0.json")
    assert read_result(GrpoConfig(), tmp_path / "vanilla-0.json") == result("vanilla", 0, 8, 0)
    with pytest.raises(InputError, match="give another --output"):
        read_result(GrpoConfig(steps=3), tmp_path / "vanilla-0.json")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 1}, "an advantage compares siblings"),
        ({"conditions": ("fire",)}, "conditions must be among vanilla"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GrpoConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.engine
def test_the_engine_samples_from_the_weights_of_each_step(tmp_path: Path) -> None:
    """TRL's own importance ratios say so: those of plain samples are 1, but for rounding, only if engine and trainer have the same weights.
    The learning rate is so high that the weights of a step before would show."""
    skip_unless(MADE / "sources", "TRL beside vLLM")
    command = [
        *(sys.executable, "-m", "jobs.devtools.grpo_countdown", "--output", str(tmp_path), "--steps", "3"),
        *("--conditions", "vanilla-corrected", "esamp-corrected", "--problems", "2", "--samples", "4"),
        *("--held-out", "4", "--evaluate-every", "3", "--learning-rate", "0.003", "--threads", "1"),
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{MADE / 'sources'}", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    vanilla, esamp = (json.loads((tmp_path / f"{name}-corrected-0.json").read_text()) for name in ("vanilla", "esamp"))
    assert vanilla["evaluated_at"] == [0, 3] and len(vanilla["rewards"]) == 3
    assert all(abs(ratio - 1) < 1e-2 for ratio in vanilla["largest_ratios"])
    assert any(ratio > 1.05 for ratio in esamp["largest_ratios"])
    assert "| esamp-corrected | 16 |" in done.stdout and (tmp_path / "curves.svg").exists()
