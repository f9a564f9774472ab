"""The tasks there are, what a task asks, and how it is sampled.

    python -m jobs.tasks
    python -m jobs.tasks --show math500 --dataset math500.jsonl
    python -m jobs.tasks --show math500 --model Qwen/Qwen2.5-7B-Instruct

Without --model the prompt is shown as the text of the user's message; with it, as the engine gets it.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.config import SamplingConfig
from jobs.command.exit_codes import one_line_errors
from pipelines.config.run import RunConfig
from pipelines.prepare.load_problems import load_problems
from pipelines.problems.task import Task
from pipelines.tasks import all_tasks


@dataclass(frozen=True, kw_only=True)
class TasksCommand:
    """The command line of this job."""

    show: str | None = None
    """Print this task's sampling, and the prompt and answer of its first problem, instead of the table."""
    dataset: str | None = None
    """Where its problems come from instead of the task's own source: .jsonl or .parquet file, or hub id."""
    model: str | None = None
    """Format the prompt for this model."""


def main(args: list[str]) -> None:
    """Parse, then print the table or a prompt."""
    with one_line_errors():
        command = tyro.cli(TasksCommand, prog="python -m jobs.tasks", description=__doc__, args=args)
        console = Console(file=sys.stdout, soft_wrap=True)
        if command.show is None:
            console.print(task_table(all_tasks().values()))
        else:
            show_task(command.show, command, console)


def task_table(tasks: Iterable[Task]) -> Table:
    """One row per task."""
    table = Table()
    for heading in ("task", "source", "problems", "verifier", "prompt", "max tokens", "thinking"):
        table.add_column(heading, justify="right" if heading in ("problems", "max tokens", "thinking") else "left")
    for task in tasks:
        table.add_row(
            task.name,
            escape(str(task.source or "--dataset")),
            str(task.num_problems or "-"),
            task.verifier,
            task.prompt_source,
            str(task.max_tokens or "-"),
            str(task.thinking_max_tokens or "-"),
        )
    return table


def show_task(name: str, command: TasksCommand, console: Console) -> None:
    """Print the task's sampling, and the prompt and the reference answer of its first problem."""
    config = RunConfig(task=name, dataset=command.dataset, limit=1)
    [problem] = load_problems(config)
    prompt = config.prompt_template(is_chat=config.chosen_task.chat).replace("{problem}", problem.text)
    if command.model is not None:
        # Imported late: transformers takes seconds.
        from pipelines.prepare.model_files import load_tokenizer
        from pipelines.prepare.prompt import format_prompt

        config = replace(config, model=command.model)
        prompt = format_prompt(problem, config, load_tokenizer(config))
    task = config.chosen_task
    console.rule("sampling")
    for line in sampling_lines(task):
        console.print(line, markup=False, highlight=False)
    console.rule(f"prompt of {problem.problem_id}")
    console.print(prompt, markup=False, highlight=False)
    console.rule("reference answer")
    console.print(problem.answer or "(none)", markup=False, highlight=False)


def sampling_lines(task: Task) -> list[str]:
    """What a run of the task takes unless it is told otherwise, with the flag that changes it."""
    lines = [f"answer tokens: {task.max_tokens or SamplingConfig().max_tokens} (--sampling.max-tokens)"]
    if task.chat:
        lines.append(f"answer tokens of a thinking model: {task.thinking_max_tokens} (--sampling.max-tokens)")
    if task.raw_stop:
        lines.append(f"stop, without a chat template: {' '.join(map(repr, task.raw_stop))} (--sampling.stop)")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
