"""The tasks there are, and what a task asks.

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

from jobs.command.exit_codes import one_line_errors
from pipelines.config.run import RunConfig
from pipelines.prepare.load_problems import load_problems
from pipelines.problems.task import Task
from pipelines.tasks import all_tasks


@dataclass(frozen=True, kw_only=True)
class TasksCommand:
    """The command line of this job."""

    show: str | None = None
    """Print the first problem's prompt and answer of this task instead of the table."""
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
            show_first_prompt(command.show, command, console)


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


def show_first_prompt(name: str, command: TasksCommand, console: Console) -> None:
    """Print the prompt and the reference answer of the first problem."""
    config = RunConfig(task=name, dataset=command.dataset, limit=1)
    [problem] = load_problems(config)
    prompt = config.prompt_template(is_chat=config.chosen_task.chat).replace("{problem}", problem.text)
    if command.model is not None:
        # Imported late: transformers takes seconds.
        from pipelines.prepare.model_files import load_tokenizer
        from pipelines.prepare.prompt import format_prompt

        config = replace(config, model=command.model)
        prompt = format_prompt(problem, config, load_tokenizer(config))
    console.rule(f"prompt of {problem.problem_id}")
    console.print(prompt, markup=False, highlight=False)
    console.rule("reference answer")
    console.print(problem.answer or "(none)", markup=False, highlight=False)


if __name__ == "__main__":
    main(sys.argv[1:])
