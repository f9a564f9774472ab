"""How fast verifiers are: samples per second on this machine, and what the verdicts were."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from pipelines.config.run import RunConfig
from pipelines.devtools.bench.verifier_samples import SAMPLES, Sample
from pipelines.errors import InputError
from pipelines.problems.dataset_rows import jsonl_rows
from pipelines.problems.problem import Problem
from pipelines.verifiers.scorer import Scorer, start_scorer
from pipelines.verifiers.settings import verifier_settings
from pipelines.verifiers.verdict import VerdictStatus

HUMANEVAL_COLUMNS = ("task_id", "entry_point", "prompt", "canonical_solution", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierSpeed:
    """One measurement."""

    verifier: str
    samples: int
    workers: int
    """Samples at once."""
    seconds: float
    """Wall clock, without the start of the scorer."""
    load: float
    """Of the machine when the measurement ended, mean over a minute: processes that run or wait, those measured included."""
    statuses: Mapping[VerdictStatus, int]
    """How often each verdict was given: a fast verifier that gives wrong verdicts is not fast."""

    @property
    def samples_per_s(self) -> float:
        """NaN without samples."""
        return self.samples / self.seconds if self.samples else float("nan")


def measure_verifiers(*, allow_unsafe_execution: bool) -> Iterator[VerifierSpeed]:
    """Every verifier on small samples of its own. Raises InputError if no sandbox works for code."""
    for name, samples in SAMPLES.items():
        verifier = name.partition(",")[0]
        settings = verifier_settings(RunConfig(verifier=verifier, allow_unsafe_execution=allow_unsafe_execution))
        with closing(start_scorer(settings)) as scorer:
            yield measure_verifier(name, scorer, samples, workers=workers_of(verifier))


def measure_humaneval(path: Path, *, samples: int, allow_unsafe_execution: bool) -> VerifierSpeed:
    """Every reference solution of a HumanEval file, `samples` times. Raises InputError if it is no such file."""
    settings = verifier_settings(RunConfig(verifier="code", allow_unsafe_execution=allow_unsafe_execution))
    with closing(start_scorer(settings)) as scorer:
        references = humaneval_references(path, samples=samples)
        return measure_verifier(
            f"code, HumanEval's references x {samples}", scorer, references, workers=workers_of("code")
        )


def workers_of(verifier: str) -> int:
    """A sandbox per core; what runs in this process or in one child has no use for more than one thread."""
    return (os.cpu_count() or 1) if verifier == "code" else 1


def measure_verifier(name: str, scorer: Scorer, samples: Sequence[Sample], *, workers: int = 1) -> VerifierSpeed:
    """Score all samples once. More than one worker means threads, which a scorer must allow: CodeScorer does."""
    scorer.score(*samples[0])  # a scorer that starts with its first sample
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        statuses = Counter(pool.map(lambda sample: scorer.score(*sample).status, samples))
    return VerifierSpeed(
        verifier=name,
        samples=len(samples),
        workers=workers,
        seconds=time.perf_counter() - started,
        load=os.getloadavg()[0],
        statuses=dict(statuses),
    )


def humaneval_references(path: Path, *, samples: int) -> list[Sample]:
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


def speed_table(speeds: Sequence[VerifierSpeed]) -> Table:
    """One row per measurement."""
    table = Table("verifier", title=f"verifiers on this machine, {os.cpu_count()} cores", title_justify="left")
    for heading in ("samples", "at once", "seconds", "samples/s", "load"):
        table.add_column(heading, justify="right")
    table.add_column("verdicts")
    for speed in speeds:
        verdicts = ", ".join(f"{count} {status}" for status, count in sorted(speed.statuses.items()))
        numbers = (f"{speed.samples:,}", str(speed.workers), f"{speed.seconds:.2f}", f"{speed.samples_per_s:,.1f}")
        table.add_row(speed.verifier, *numbers, f"{speed.load:.1f}", verdicts)
    return table


def write_speeds(path: Path, speeds: Sequence[VerifierSpeed], *, command: str) -> None:
    """The same as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(speed), "samples_per_s": speed.samples_per_s} for speed in speeds]
    path.write_text(json.dumps({"command": command, "cores": os.cpu_count(), "verifiers": rows}, indent=1))
