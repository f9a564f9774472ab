"""What a session has done so far, counted in an actor that is told of every sample when it has its verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipelines.runs.finished_sample import FinishedSample


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What a session has done so far."""

    problems_missing: int = 0
    """Problems that still lack a sample."""
    samples: int = 0
    """Samples that have their verdict, those that were made again too."""
    new_samples: int = 0
    """Those of them that the run lacked."""
    newly_solved: int = 0
    """Problems whose first correct sample came in this session."""
    tokens: int = 0
    squared_tokens: int = 0
    """Sum of the squares of the answers' lengths."""
    errors: int = 0
    """Samples that could not be generated, or not be scored."""
    truncated: int = 0
    timeouts: int = 0


class Progress:
    """Counts finished samples. A Ray actor, told by the last stage of the pipeline."""

    def __init__(self) -> None:
        self._missing: dict[str, int] = {}
        self._solved: set[str] = set()
        self._newly_solved: set[str] = set()
        self._samples = self._new = self._tokens = self._squared = self._errors = self._truncated = self._timeouts = 0

    def expect(self, missing: pa.Table) -> None:
        """Samples that this session generates: RunPosition.missing. One bit a sample is kept."""
        for problem_id, indices, is_solved in zip(
            missing["problem_id"].to_pylist(), missing["missing"], missing["solved"].to_pylist(), strict=True
        ):
            self._missing[problem_id] = sum(1 << index for index in indices.as_py())
            if is_solved:
                self._solved.add(problem_id)

    def add(self, samples: Sequence[FinishedSample]) -> None:
        """Count samples that have their verdict."""
        for sample in samples:
            bit = 1 << sample.sample_index
            # A work unit that is run again gives samples that are there already.
            self._new += bool(self._missing.get(sample.problem_id, bit) & bit)
            self._missing[sample.problem_id] = self._missing.get(sample.problem_id, 0) & ~bit
            self._samples += 1
            self._tokens += sample.num_tokens
            self._squared += sample.num_tokens**2
            self._errors += sample.is_error
            self._truncated += sample.is_truncated
            self._timeouts += sample.is_timeout
            if sample.is_correct and sample.problem_id not in self._solved:
                self._newly_solved.add(sample.problem_id)

    def stop(self, problem_id: str) -> None:
        """Nothing more of this problem is expected."""
        self._missing[problem_id] = 0

    def counts(self) -> Counts:
        """The state now."""
        return Counts(
            problems_missing=sum(mask != 0 for mask in self._missing.values()),
            samples=self._samples,
            new_samples=self._new,
            newly_solved=len(self._newly_solved),
            tokens=self._tokens,
            squared_tokens=self._squared,
            errors=self._errors,
            truncated=self._truncated,
            timeouts=self._timeouts,
        )
