"""The problems of a run: its task's own, or a dataset's rows read as the task reads them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.config.problem_settings import LOCAL_SUFFIXES
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.problems.dataset_rows import file_rows, hub_rows
from pipelines.problems.problem import Problem
from pipelines.problems.task import Columns, EmbeddedSource, HubSource, ReadRow, Row
from pipelines.verifiers.registry import find_verifier


def load_problems(config: RunConfig) -> list[Problem]:
    """The problems of a run, in the dataset's order. Raises InputError if they cannot be had or used."""
    task = config.chosen_task
    if config.dataset_path is None and isinstance(task.source, EmbeddedSource):
        return task.source.problems(config.limit)
    rows = dataset_rows(config)
    if isinstance(task.rows, Columns):
        return problems_by_columns(config, list(islice(rows, config.limit)), task.rows)
    problems = list(islice(problems_by_function(config, rows, task.rows), config.limit))
    if not problems:
        raise InputError(f"{name_of(config)} has no rows for task {task.name}; look at the options of the task.")
    check_unique(config, problems, where=f"of task {task.name}", suggestion="Drop all rows but one of them.")
    return problems


def dataset_rows(config: RunConfig) -> Iterator[Row]:
    """Rows of --dataset, else of the task's own source. Raises InputError if there is neither."""
    if config.dataset_path is None:
        if not isinstance(config.chosen_task.source, HubSource):
            raise InputError(f"task {config.chosen_task.name} has no dataset of its own; give one with --dataset.")
        return hub_rows(hub_source(config, config.chosen_task.source))
    path = Path(config.dataset_path)
    if path.suffix in LOCAL_SUFFIXES:
        return file_rows(path)
    return hub_rows(hub_source(config, HubSource(config.dataset_path)))


def hub_source(config: RunConfig, source: HubSource) -> HubSource:
    """The source with the run's subset and split, where they are given."""
    return replace(source, subset=config.subset or source.subset, split=config.split or source.split)


def problems_by_columns(config: RunConfig, rows: list[Row], usual: Columns) -> list[Problem]:
    """Problems from named columns: the run's names win over the task's."""
    if not rows:
        raise InputError(f"{name_of(config)} has no rows; give one with at least one problem.")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    problem_column = pick_column(config, columns, config.problem_column, usual.problem, "problem")
    answer_column = pick_answer_column(config, columns, usual)
    id_column = pick_id_column(config, columns, usual)
    problems = [
        Problem(
            problem_id=str(number) if id_column is None else as_text(row.get(id_column)),
            text=as_text(row.get(problem_column)),
            answer="" if answer_column is None else as_text(row.get(answer_column)),
        )
        for number, row in enumerate(rows)
    ]
    check_filled(config, problems, problem_column, answer_column)
    check_unique(config, problems, where=f"in column {id_column!r}", suggestion="Name another column with --id-column.")
    return problems


def problems_by_function(config: RunConfig, rows: Iterable[Row], read_row: ReadRow) -> Iterator[Problem]:
    """Problems as the task's own function reads them. Raises InputError at a row that lacks a column or holds nothing to ask."""
    for number, row in enumerate(rows):
        try:
            problem = read_row(row, config.task_options)
        except KeyError as error:
            raise InputError(
                f"{name_of(config)}: row {number} has no column {error} for task {config.chosen_task.name}; it has {', '.join(row)}."
            ) from error
        if problem is None:
            continue
        if not problem.text.strip():
            raise InputError(f"{name_of(config)}: row {number} has nothing to ask; drop the row or fill it.")
        yield problem if problem.problem_id else replace(problem, problem_id=str(number))


def pick_column(config: RunConfig, columns: list[str], asked: str | None, usual: Iterable[str], what: str) -> str:
    """The column asked for, or the first usual one. Raises InputError naming the columns there are."""
    wanted = (asked,) if asked else tuple(usual)
    for name in wanted:
        if name in columns:
            return name
    raise InputError(
        f"{name_of(config)} has no {what} column {' / '.join(wanted)}; it has {', '.join(columns)}. Name one with --{what}-column."
    )


def pick_answer_column(config: RunConfig, columns: list[str], usual: Columns) -> str | None:
    """None if there is none and the verifier can do without."""
    is_needed = find_verifier(config.verifier_name).reads_answer
    if not is_needed and config.answer_column is None and not set(usual.answer) & set(columns):
        return None
    return pick_column(config, columns, config.answer_column, usual.answer, "answer")


def pick_id_column(config: RunConfig, columns: list[str], usual: Columns) -> str | None:
    """None if rows are to be numbered."""
    if config.id_column is None and not set(usual.id) & set(columns):
        return None
    return pick_column(config, columns, config.id_column, usual.id, "id")


def check_filled(config: RunConfig, problems: list[Problem], problem_column: str, answer_column: str | None) -> None:
    """Raise InputError at the first row without a problem or without an answer."""
    for number, problem in enumerate(problems):
        if not problem.text.strip():
            raise InputError(
                f"{name_of(config)}: row {number} has nothing in column {problem_column!r}; drop the row or fill it."
            )
        if answer_column is not None and not problem.answer.strip():
            raise InputError(
                f"{name_of(config)}: row {number} has nothing in column {answer_column!r}; drop the row or fill it."
            )


def check_unique(config: RunConfig, problems: list[Problem], *, where: str, suggestion: str) -> None:
    """Raise InputError if two problems share an id."""
    problem_id, count = Counter(problem.problem_id for problem in problems).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"{name_of(config)}: ids must be unique; {problem_id!r} {where} appears {count} times. {suggestion}"
        )


def name_of(config: RunConfig) -> str:
    """The dataset as messages call it."""
    return f"dataset {config.dataset_path or config.chosen_task.source}"


def as_text(value: Any) -> str:
    """A cell as text: strings as they are, nothing as "", the rest as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)
