"""What jobs.grade is asked to do. The command line is generated from these fields, and the strings under them are its help."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.verifiers.registry import VERIFIER_HELP


@dataclass(frozen=True, kw_only=True)
class GradeConfig:
    """Replies to score, and by what."""

    completions: Path
    """Replies: a .jsonl, .jsonl.gz or .parquet file with a row per reply. Column task_id (or problem_id, unique_id, id) names the problem;
    column solution, completion, response or text holds the reply. Several rows of a problem are its samples."""
    task: str | None = None
    """Name of a task (python -m jobs.tasks lists them), or module:TASK of your own. Without it --dataset is read by its columns."""
    dataset: str | None = None
    """Where problems come from instead of the task's own source: Hugging Face dataset id, or a .jsonl or .parquet file."""
    output: Path = Path("graded")
    """Folder for verdicts.jsonl, summary.json and report.html. The same command goes on with what was stopped there."""
    verifier: Annotated[str, Doc(f"auto: the task's; {VERIFIER_HELP}; module:function: your own.")] = "auto"
    verifier_timeout_s: float | None = None
    """Seconds one verdict may take; by default the verifier's own."""
    judge_url: str | None = None
    """Base URL of the judge's OpenAI-compatible API."""
    judge_model: str | None = None
    """Model the judge's API is asked for."""
    judge_key_variable: str | None = None
    """Environment variable that holds the judge's API key."""
    allow_unsafe_execution: bool = False
    """Run the code that a model wrote even where it cannot be locked in. Only on a machine you can afford to lose."""
    pass_at: tuple[int, ...] = ()
    """Report pass@k for these k; by default 1, 2, 4, ... up to the samples that every problem has."""
    workers: int = os.cpu_count() or 1
    """Replies that are scored at a time; by default one per core of this machine. More than it has cores need a Ray cluster, which
    RAY_ADDRESS names; not for a judge, whose workers only wait."""

    def __post_init__(self) -> None:
        if not self.workers >= 1:
            raise InputError(f"workers must be >= 1; got {self.workers}.")
        if any(k < 1 for k in self.pass_at):
            raise InputError(f"pass_at must be >= 1; got {self.pass_at}.")
        if self.task is None and self.dataset is None:
            raise InputError("the problems are not known: give --task (python -m jobs.tasks lists them) or --dataset.")

    def as_run(self) -> RunConfig:
        """A run's settings with the same problems and verifier. Raises InputError as RunConfig does."""
        return RunConfig(
            task=self.task,
            dataset=self.dataset,
            verifier=self.verifier,
            verifier_timeout_s=self.verifier_timeout_s,
            judge_url=self.judge_url,
            judge_model=self.judge_model,
            judge_key_variable=self.judge_key_variable,
            allow_unsafe_execution=self.allow_unsafe_execution,
        )
