"""Problems of a run: from the hub, a JSONL or Parquet file, or the embedded Countdown task."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.config import RunConfig
from pipelines.countdown import evaluation_problems
from pipelines.errors import InputError

PROBLEM_COLUMNS = ("problem", "question", "prompt")
ANSWER_COLUMNS = ("answer", "expected_answer", "solution")
ID_COLUMNS = ("problem_id", "unique_id", "task_id", "id")
COUNTDOWN_PROBLEMS = 100
"""Problems of the embedded task if no limit is given; any limit can be had."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: what is asked, and the reference answer that a verifier compares with."""

    problem_id: str
    text: str
    answer: str
    """Empty where the verifier needs none; JSON where the column holds more than a string or a number."""


def load_problems(config: RunConfig) -> list[Problem]:
    """The problems of a run, in the dataset's order. Raises InputError if they cannot be had or used."""
    if config.dataset == "countdown":
        embedded = evaluation_problems(config.limit or COUNTDOWN_PROBLEMS)
        return [Problem(p.problem_id, p.prompt, str(p.target)) for p in embedded]
    rows = load_rows(config)
    if not rows:
        raise InputError(f"dataset {config.dataset} has no rows; give one with at least one problem.")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    problem_column = pick_column(config, columns, config.problem_column, PROBLEM_COLUMNS, "problem")
    answer_column = pick_answer_column(config, columns)
    id_column = pick_id_column(config, columns)
    problems = [
        Problem(
            problem_id=str(number) if id_column is None else as_text(row.get(id_column)),
            text=as_text(row.get(problem_column)),
            answer="" if answer_column is None else as_text(row.get(answer_column)),
        )
        for number, row in enumerate(rows)
    ]
    check_filled(config, problems, problem_column, answer_column)
    check_unique(config, problems, id_column)
    return problems


def load_rows(config: RunConfig) -> list[dict[str, Any]]:
    """Rows of a local file or of a hub dataset, at most `limit`. Raises InputError if there is no such dataset."""
    path = Path(config.dataset)
    if path.suffix == ".jsonl":
        return read_jsonl(path, config.limit)
    if path.suffix == ".parquet":
        return read_parquet(path, config.limit)
    return load_hub_rows(config)


def read_jsonl(path: Path, limit: int | None) -> list[dict[str, Any]]:
    """One JSON object per line; blank lines are skipped."""
    check_file(path)
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip() or (limit is not None and len(rows) >= limit):
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"dataset file {path}: line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(
                    f"dataset file {path}: every line must be a JSON object; line {number} is {line.strip()[:60]}"
                )
            rows.append(row)
    return rows


def read_parquet(path: Path, limit: int | None) -> list[dict[str, Any]]:
    """Rows of one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet

    check_file(path)
    try:
        rows: list[dict[str, Any]] = pa.parquet.read_table(path).slice(0, limit).to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"dataset file {path} is not Parquet: {error}") from error
    return rows


def load_hub_rows(config: RunConfig) -> list[dict[str, Any]]:
    """Rows of a split of a hub dataset, downloaded or from the local cache."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        dataset = load_dataset(config.dataset, config.subset, split=config.split)
    except (DatasetNotFoundError, OSError, ValueError) as error:
        raise InputError(
            f"dataset {config.dataset} (split {config.split}) is neither countdown, nor a .jsonl or .parquet file, nor a hub dataset "
            f"that can be loaded: {str(error).splitlines()[0]}"
        ) from error
    count = len(dataset) if config.limit is None else min(config.limit, len(dataset))
    rows: list[dict[str, Any]] = dataset.select(range(count)).to_list()
    return rows


def check_file(path: Path) -> None:
    """Raise InputError if there is no such file."""
    if not path.is_file():
        raise InputError(f"dataset file {path} does not exist; give a .jsonl or .parquet file, a hub id, or countdown.")


def pick_column(config: RunConfig, columns: list[str], asked: str | None, usual: Iterable[str], what: str) -> str:
    """The column asked for, or the first usual one. Raises InputError naming the columns there are."""
    wanted = (asked,) if asked else tuple(usual)
    for name in wanted:
        if name in columns:
            return name
    raise InputError(
        f"dataset {config.dataset} has no {what} column {' / '.join(wanted)}; it has {', '.join(columns)}. Name one with --{what}-column."
    )


def pick_answer_column(config: RunConfig, columns: list[str]) -> str | None:
    """None if there is none and the verifier is the user's own, or reads the problem itself."""
    reads_answer = config.verifier_name in ("math", "exact")
    if not reads_answer and config.answer_column is None and not set(ANSWER_COLUMNS) & set(columns):
        return None
    return pick_column(config, columns, config.answer_column, ANSWER_COLUMNS, "answer")


def pick_id_column(config: RunConfig, columns: list[str]) -> str | None:
    """None if rows are to be numbered."""
    if config.id_column is None and not set(ID_COLUMNS) & set(columns):
        return None
    return pick_column(config, columns, config.id_column, ID_COLUMNS, "id")


def check_filled(config: RunConfig, problems: list[Problem], problem_column: str, answer_column: str | None) -> None:
    """Raise InputError at the first row without a problem or without an answer."""
    for number, problem in enumerate(problems):
        if not problem.text.strip():
            raise InputError(
                f"dataset {config.dataset}: row {number} has nothing in column {problem_column!r}; drop the row or fill it."
            )
        if answer_column is not None and not problem.answer.strip():
            raise InputError(
                f"dataset {config.dataset}: row {number} has nothing in column {answer_column!r}; drop the row or fill it."
            )


def check_unique(config: RunConfig, problems: list[Problem], id_column: str | None) -> None:
    """Raise InputError if two problems share an id."""
    problem_id, count = Counter(problem.problem_id for problem in problems).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"dataset {config.dataset}: ids must be unique; {problem_id!r} in column {id_column!r} appears {count} times. "
            "Name another column with --id-column."
        )


def as_text(value: Any) -> str:
    """A cell as text: strings as they are, nothing as "", the rest as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def data_fingerprint(problems: list[Problem]) -> str:
    """Short sha256 of ids, texts and answers, in their order."""
    text = json.dumps([asdict(problem) for problem in problems], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
