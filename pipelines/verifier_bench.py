"""How fast a verifier is: samples per second on this machine, and what the verdicts were."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import InputError
from pipelines.problems import Problem
from pipelines.rows import jsonl_rows
from pipelines.verdict import VerdictStatus

if TYPE_CHECKING:  # it brings Ray along, which a measurement of one process does not need
    from pipelines.verification import Scorer

HUMANEVAL_COLUMNS = ("task_id", "entry_point", "prompt", "canonical_solution", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierSpeed:
    """One measurement."""

    samples: int
    workers: int
    seconds: float
    """Wall clock, without the start of the scorer."""
    statuses: Mapping[VerdictStatus, int]
    """How often each verdict was given: a fast verifier that gives wrong verdicts is not fast."""

    @property
    def samples_per_s(self) -> float:
        """NaN without samples."""
        return self.samples / self.seconds if self.samples else float("nan")


def measure_verifier(scorer: "Scorer", samples: Sequence[tuple[Problem, str]], *, workers: int = 1) -> VerifierSpeed:
    """Score all samples once. More than one worker means threads, which a scorer must allow: CodeScorer does."""
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        statuses = Counter(pool.map(lambda sample: scorer.score(*sample).status, samples))
    return VerifierSpeed(
        samples=len(samples), workers=workers, seconds=time.perf_counter() - started, statuses=dict(statuses)
    )


def humaneval_references(path: Path, *, samples: int) -> list[tuple[Problem, str]]:
    """Every problem of a HumanEval file with its reference solution, `samples` times. Raises InputError if it is no such file."""
    rows = list(jsonl_rows(path))
    for number, row in enumerate(rows, start=1):
        missing = [name for name in HUMANEVAL_COLUMNS if not isinstance(row.get(name), str)]
        if missing:
            raise InputError(f"{path} is no HumanEval file: row {number} has no text in {', '.join(missing)}.")
    return [
        (
            Problem(
                row["task_id"],
                row["prompt"],
                json.dumps({name: row[name] for name in ("entry_point", "prompt", "test")}),
            ),
            row["canonical_solution"],
        )
        for _ in range(samples)
        for row in rows
    ]
