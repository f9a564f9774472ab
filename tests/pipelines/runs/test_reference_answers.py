"""Answers are stored once, and read one group at a time."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.problems.problem import Problem
from pipelines.runs import reference_answers as answers
from pipelines.runs.reference_answers import Answers, write_answers


def write(path: Path, answers: dict[str, str]) -> None:
    with path.open("wb") as file:
        write_answers(file, [Problem(problem_id, "", answer) for problem_id, answer in answers.items()])


def test_answers_survive_their_file_in_their_order(tmp_path: Path) -> None:
    wanted = {f"p{i}": f"answer {i}\n\0é" for i in (3, 1, 2)} | {"empty": ""}
    write(tmp_path / "answers.parquet", wanted)
    assert list(Answers(tmp_path / "answers.parquet").items()) == list(wanted.items())
    with pytest.raises(KeyError, match="p9"):
        Answers(tmp_path / "answers.parquet")["p9"]


def test_large_answers_are_in_groups_of_their_own_and_small_ones_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "GROUP_BYTES", 100)
    wanted = {"large": "x" * 250} | {f"p{i}": "y" * 10 for i in range(25)}
    write(tmp_path / "answers.parquet", wanted)
    metadata = pq.read_metadata(tmp_path / "answers.parquet")
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [1, 10, 10, 5]
    stored = Answers(tmp_path / "answers.parquet")
    assert {name: stored[name] for name in reversed(wanted)} == wanted
