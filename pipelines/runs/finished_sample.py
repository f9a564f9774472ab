"""A sample that has its verdict, in short: what progress and stopping early need of a stored row."""

from dataclasses import dataclass
from typing import Any

from pipelines.verifiers.verdict import VerdictStatus

FINISHED_COLUMNS = ["problem_id", "sample_index", "num_tokens", "status", "finish_reason", "error"]
"""Columns of samples/*.parquet that it is made of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedSample:
    """A sample that has its verdict."""

    problem_id: str
    sample_index: int
    """Place in launch order."""
    num_tokens: int
    is_correct: bool
    is_error: bool
    """It could not be generated, or not be scored."""
    is_generated: bool
    is_truncated: bool = False
    """It was cut off at max_tokens, or at the model's length."""
    is_timeout: bool = False
    """Its verifier was stopped for time."""


def finished_sample(row: dict[str, Any]) -> FinishedSample:
    """A stored row, in short."""
    return FinishedSample(
        problem_id=row["problem_id"],
        sample_index=row["sample_index"],
        num_tokens=row["num_tokens"],
        is_correct=row["status"] == VerdictStatus.CORRECT,
        is_error=row["status"] == VerdictStatus.ERROR,
        is_generated=row["error"] is None,
        # jobs.verify scores answers again without reading how they ended.
        is_truncated=row.get("finish_reason") == "length",
        is_timeout=row["status"] == VerdictStatus.TIMEOUT,
    )
