"""Problems from files, and what is said when they cannot be used."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.prepare.load_problems import load_problems
from pipelines.problems.problem import Problem, data_fingerprint
from tests.pipelines.conftest import write_jsonl


def from_rows(path: Path, rows: list[dict[str, Any]], **settings: Any) -> list[Problem]:
    return load_problems(RunConfig(dataset=str(write_jsonl(path / "data.jsonl", rows)), **settings))


def test_usual_columns_are_found(tmp_path: Path) -> None:
    rows = [{"id": 7, "question": "1+1?", "expected_answer": 2}, {"id": 8, "question": "2+2?", "expected_answer": "4"}]
    assert from_rows(tmp_path, rows) == [Problem("7", "1+1?", "2"), Problem("8", "2+2?", "4")]


def test_named_columns_win(tmp_path: Path) -> None:
    rows = [{"problem": "x", "text": "y", "answer": "1", "gold": "2", "key": "k"}]
    columns = {"problem_column": "text", "answer_column": "gold", "id_column": "key"}
    assert from_rows(tmp_path, rows, **columns) == [Problem("k", "y", "2")]


def test_rows_without_an_id_are_numbered(tmp_path: Path) -> None:
    problems = from_rows(tmp_path, [{"problem": "same", "answer": "1"}] * 3)
    assert [problem.problem_id for problem in problems] == ["0", "1", "2"]


def test_parquet_and_jsonl_give_the_same_problems(tmp_path: Path) -> None:
    rows = [{"problem": f"q{i}", "answer": str(i)} for i in range(4)]
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    assert load_problems(RunConfig(sampler="esamp", dataset=str(tmp_path / "data.parquet"))) == from_rows(
        tmp_path, rows
    )


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    rows = [{"problem": f"q{i}", "answer": str(i)} for i in range(4)]
    assert [problem.text for problem in from_rows(tmp_path, rows, limit=2)] == ["q0", "q1"]


def test_the_embedded_task_needs_no_file() -> None:
    problems = load_problems(RunConfig(sampler="esamp", limit=5))
    assert len({problem.problem_id for problem in problems}) == 5
    assert problems == load_problems(RunConfig(sampler="esamp", limit=5, seed=9)), (
        "the run's seed draws other samples, not other problems"
    )


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([], {}, "has no rows"),
        (
            [{"text": "x", "answer": "1"}],
            {},
            "no problem column problem / question / prompt; it has text, answer.*--problem-column",
        ),
        ([{"problem": "x", "label": "1"}], {}, "no answer column .*; it has problem, label.*--answer-column"),
        ([{"problem": "x", "answer": "1"}], {"id_column": "key"}, "no id column key; it has problem, answer"),
        (
            [{"id": 1, "problem": "x", "answer": "1"}] * 2,
            {},
            "ids must be unique; '1' in column 'id' appears 2 times.*--id-column",
        ),
        (
            [{"problem": "x", "answer": "1"}, {"problem": " ", "answer": "1"}],
            {},
            "row 1 has nothing in column 'problem'",
        ),
        ([{"problem": "x", "answer": None}], {}, "row 0 has nothing in column 'answer'"),
    ],
)
def test_unusable_data_is_refused(
    tmp_path: Path, rows: list[dict[str, Any]], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        from_rows(tmp_path, rows, **settings)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jsonl", None, "does not exist"),
        ("bad.jsonl", b'{"problem": "x", "answer": 1}\n{"problem"\n', "line 2 is not JSON"),
        ("list.jsonl", b"[1, 2]\n", "every line must be a JSON object"),
        ("bad.parquet", b"no parquet", "is not Parquet"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_problems(RunConfig(sampler="esamp", dataset=str(tmp_path / name)))


def test_a_verifier_of_ones_own_needs_no_answer_column(tmp_path: Path) -> None:
    assert from_rows(tmp_path, [{"problem": "x"}], verifier="my.module:check") == [Problem("0", "x", "")]


def test_answers_that_are_no_text_become_json(tmp_path: Path) -> None:
    [problem] = from_rows(tmp_path, [{"problem": "x", "answer": {"tests": [1, 2]}}], verifier="my.module:check")
    assert problem.answer == '{"tests": [1, 2]}'


def test_the_fingerprint_changes_with_any_problem() -> None:
    problems = [Problem("a", "x", "1"), Problem("b", "y", "2")]
    assert data_fingerprint(problems) == data_fingerprint(list(problems))
    assert data_fingerprint(problems) != data_fingerprint([problems[0], Problem("b", "y", "3")])
    assert data_fingerprint(problems) != data_fingerprint(problems[::-1])


def test_the_fingerprint_is_that_of_all_problems_as_one_json_list() -> None:
    """It was computed so from the start: runs that were begun then go on."""
    problems = [Problem("a", "é", "1"), Problem("b", "y", "2")]
    text = json.dumps([asdict(problem) for problem in problems], sort_keys=True)
    assert data_fingerprint(problems) == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert data_fingerprint(problems[:1]) != data_fingerprint(problems)
