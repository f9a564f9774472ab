"""Which problems a run is about: their source, the prompt around them, and who scores the answers. A task decides what is not given."""

import math
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc

from pipelines.errors import InputError
from pipelines.problems.task import Columns, Task, TaskOptions
from pipelines.tasks import find_task
from pipelines.verifiers.registry import VERIFIER_HELP, find_verifier

LOCAL_SUFFIXES = (".jsonl", ".parquet")
"""Endings of local datasets."""

EMBEDDED_TASK = "countdown"
"""The task of a run that names neither a task nor a dataset; --dataset knows it by the same name."""

COLUMN_TASK = "columns"
"""The task of a run that names a dataset only."""

COLUMN_FLAGS = ("problem_column", "answer_column", "id_column")


@dataclass(frozen=True, kw_only=True)
class ProblemSettings:
    """The settings of a run that decide its problems and verdicts."""

    task: str | None = None
    """Name of a task (python -m jobs.tasks lists them), or module:TASK of your own: its dataset, prompt and verifier. Without it a
    --dataset is read by its columns, and a run without either is countdown, the task that ships with the project."""
    dataset: str | None = None
    """Where problems come from instead of the task's own source: Hugging Face dataset id, or a .jsonl or .parquet file."""
    split: str | None = None
    """Split of a hub dataset; by default the task's, else test."""
    subset: str | None = None
    """Configuration name of a hub dataset; by default the task's."""
    limit: int | None = None
    """Use only the first so many problems."""
    problem_column: str | None = None
    """Column with the problem's text; by default the task's, else the first of problem, question, prompt."""
    answer_column: str | None = None
    """Column with the reference answer; by default the task's, else the first of answer, expected_answer, solution."""
    id_column: str | None = None
    """Column with a unique id; by default the task's, else the first of problem_id, unique_id, task_id, id, and the row number if there
    is none."""
    choices_seed: int = 0
    """Seed of the order of choices, in multiple-choice tasks."""
    released_from: str | None = None
    """First day (2025-01-31) of the problems to use, in tasks whose problems have a date."""
    released_until: str | None = None
    """Last day of the problems to use, in tasks whose problems have a date."""
    template: str | None = None
    """Prompt around the problem's text, which it names {problem}; by default the task's."""
    chat: bool = True
    """Apply the model's chat template, if it has one, unless the task is to go on with a text."""
    verifier: Annotated[str, Doc(f"auto: the task's; {VERIFIER_HELP}; module:function: your own.")] = "auto"
    verifier_timeout_s: float | None = None
    """Seconds one verdict may take; of a judge one request, of a contest's program one test case. By default the verifier's own: code 10,
    judge 60, others 30."""
    judge_url: str | None = None
    """Base URL of the judge's OpenAI-compatible API, such as http://localhost:8000/v1."""
    judge_model: str | None = None
    """Model the judge's API is asked for."""
    judge_key_variable: str | None = None
    """Environment variable that holds the judge's API key, on every node that scores; None for a server that wants none."""
    allow_unsafe_execution: bool = False
    """Run the code that a model wrote even where it cannot be locked in. Only on a machine you can afford to lose."""

    def check_problems(self) -> None:
        """Raise InputError at a setting that is out of its range, or that the task has no use for."""
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit must be >= 1; got {self.limit}. Leave it out to use every problem.")
        if self.template is not None and "{problem}" not in self.template:
            raise InputError(f'template must contain "{{problem}}"; got {self.template!r}.')
        if not (math.isfinite(self.verdict_timeout_s) and self.verdict_timeout_s > 0):
            raise InputError(f"verifier_timeout_s must be finite and > 0; got {self.verifier_timeout_s}.")
        settings = vars(self)
        if missing := [name for name in find_verifier(self.verifier_name).needs if not settings[name]]:
            flags = " and ".join(f"--{name.replace('_', '-')}" for name in missing)
            raise InputError(f"verifier {self.verifier_name} needs {flags}, not given.")
        task = self.chosen_task
        if self.dataset == EMBEDDED_TASK and task.name != EMBEDDED_TASK:
            raise InputError(f"--dataset {EMBEDDED_TASK} is a task of its own; leave it out, or --task {task.name}.")
        for name in COLUMN_FLAGS:
            if asdict(self)[name] is not None and not isinstance(task.rows, Columns):
                raise InputError(f"task {task.name} reads its own columns; leave {name} out, or use no --task.")
        usual = TaskOptions()
        for name, value in asdict(self.task_options).items():
            if value != asdict(usual)[name] and name not in task.options:
                raise InputError(f"task {task.name} has no use for {name}={value!r}; leave it out.")
        for name in ("released_from", "released_until"):
            check_day(name, asdict(self)[name])

    @property
    def chosen_task(self) -> Task:
        """The task named; else countdown, or columns where a dataset is named. Raises InputError if there is no such task."""
        if self.task is not None:
            return find_task(self.task)
        return find_task(EMBEDDED_TASK if self.dataset_path is None else COLUMN_TASK)

    @property
    def dataset_path(self) -> str | None:
        """The file or hub id that rows come from; None for the task's own source."""
        return None if self.dataset == EMBEDDED_TASK else self.dataset

    @property
    def task_options(self) -> TaskOptions:
        """What the task may know of this config."""
        return TaskOptions(
            choices_seed=self.choices_seed, released_from=self.released_from, released_until=self.released_until
        )

    def prompt_template(self, *, is_chat: bool) -> str:
        """The template around a problem, with or without a chat template around that."""
        return self.template if self.template is not None else self.chosen_task.template(is_chat=is_chat)

    @property
    def dataset_name(self) -> str:
        """What is asked, in one word: the task's name, else the last part of a hub id, or a file's name without its ending."""
        if self.task is not None or self.dataset_path is None:
            return self.chosen_task.name
        path = Path(self.dataset_path)
        return path.stem if path.suffix in LOCAL_SUFFIXES else path.name

    @property
    def verifier_name(self) -> str:
        """The verifier with "auto" resolved."""
        return self.chosen_task.verifier if self.verifier == "auto" else self.verifier

    @property
    def verdict_timeout_s(self) -> float:
        """Seconds one verdict may take, with the verifier's own limit where the run names none."""
        if self.verifier_timeout_s is not None:
            return self.verifier_timeout_s
        return find_verifier(self.verifier_name).timeout_s


def check_day(name: str, value: str | None) -> None:
    """Raise InputError if a setting is given and is no day."""
    try:
        is_day = value is None or date.fromisoformat(value).isoformat() == value
    except ValueError:
        is_day = False
    if not is_day:
        raise InputError(f"{name} must be a day such as 2025-01-31; got {value!r}.")
