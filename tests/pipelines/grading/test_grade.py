"""Grading replies from a file: which rows are scored, what is said of the others, and what a stop keeps."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import ray
from rich.console import Console

from jobs import grade as grade_job
from pipelines.errors import InputError
from pipelines.grading.completions import Completion, read_completions
from pipelines.grading.config import GradeConfig
from pipelines.grading.grade import grade
from pipelines.grading.summary import GradeSummary
from pipelines.problems.problem import Problem
from tests.conftest import SHARED
from tests.interruptible import hear_ctrl_c
from tests.pipelines.conftest import write_jsonl

ROOT = Path(__file__).resolve().parents[3]
QUESTIONS = [{"id": "a", "problem": "1+1?", "answer": "2"}, {"id": "b", "problem": "2+2?", "answer": "4"}]
REPLIES = [
    {"task_id": "a", "completion": "Answer: 2"},
    {"task_id": "b", "completion": "Answer: 5"},
    {"task_id": "a", "completion": "Answer: 3"},
    {"task_id": "b", "completion": "Answer: 4"},
]


def graded(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> tuple[GradeSummary, str]:
    """The summary and what was printed."""
    folder.mkdir(exist_ok=True)
    console = Console(file=io.StringIO(), width=200)
    given = {"output": folder / "graded", "verifier": "exact", "workers": 2, **settings}
    if "dataset" not in given:
        given["dataset"] = str(write_jsonl(folder / "questions.jsonl", QUESTIONS))
    config = GradeConfig(completions=write_jsonl(folder / "replies.jsonl", rows), **given)
    summary = grade(config, console)
    assert isinstance(console.file, io.StringIO)
    return summary, console.file.getvalue()


def verdict_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "graded" / "verdicts.jsonl").read_text().splitlines()]


def test_every_row_has_its_verdict_and_pass_at_k_is_over_problems(tmp_path: Path) -> None:
    summary, _ = graded(tmp_path, REPLIES)
    assert [(row["task_id"], row["sample_index"], row["status"]) for row in verdict_rows(tmp_path)] == [
        ("a", 0, "correct"),
        ("b", 0, "wrong"),
        ("a", 1, "wrong"),
        ("b", 1, "correct"),
    ]
    assert [(point.k, point.estimate) for point in summary.pass_at] == [(1, 0.5), (2, 1.0)]
    assert (summary.solved, summary.problems, summary.statuses) == (2, 2, {"correct": 2, "wrong": 2})
    assert json.loads((tmp_path / "graded" / "summary.json").read_text())["pass_at"][0]["estimate"] == 0.5


def test_bad_rows_get_a_line_each_and_the_rest_is_scored(tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [
        {"task_id": "c", "completion": "4"},
        {"task_id": "a"},
        {"completion": "4"},
        {"task_id": "a", "completion": None},
        {"task_id": "a", "completion": ["4"]},
    ]
    summary, printed = graded(tmp_path, REPLIES + bad)
    assert (summary.bad_rows, summary.replies) == (5, 4)
    lines = [line for line in printed.splitlines() if line.startswith("row ")]
    assert lines == [
        "row 5 task_id 'c' is no problem of the task; it has 'a', ...",
        "row 6 has no column solution / completion / response / text; it has task_id.",
        "row 7 has no column task_id / problem_id / unique_id / id; it has completion.",
        "row 8 completion must be a string; got null.",
        "row 9 completion must be a string; got list.",
    ]
    assert "5 rows could not be scored" in " ".join(summary.warnings)


def test_a_broken_line_is_a_bad_row_and_a_file_of_them_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text('{"task_id": "a", "completion": "2"}\n\n{"task_id": \n[1]\n')
    completions, bad = read_completions(path, [Problem("a", "?", "2")])
    assert completions == [Completion(1, Problem("a", "?", "2"), 0, "2")]
    assert [row.row for row in bad] == [3, 4]
    path.write_text("nonsense\n")
    with pytest.raises(InputError, match=r"none of 1 rows can be scored. Row 1: is not JSON"):
        read_completions(path, [Problem("a", "?", "2")])
    path.write_text("")
    with pytest.raises(InputError, match="It is empty"):
        read_completions(path, [Problem("a", "?", "2")])


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet"])
def test_files_of_each_kind_are_read_alike(tmp_path: Path, kind: str) -> None:
    rows = [{"task_id": 7, "solution": "x = 1"}, {"task_id": 7, "solution": "x = 2"}]
    path = tmp_path / f"samples.{kind}"
    if kind == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if kind == "jsonl.gz" else text)
    completions, bad = read_completions(path, [Problem("mbpp/7", "?", "")])
    assert [(c.problem.problem_id, c.sample_index, c.text) for c in completions] == [
        ("mbpp/7", 0, "x = 1"),
        ("mbpp/7", 1, "x = 2"),
    ]
    assert not bad


@pytest.mark.parametrize("name", ["Mbpp/7", "mbpp/7", "7", 7])
def test_a_problem_is_found_by_the_names_that_sample_files_give_it(tmp_path: Path, name: str | int) -> None:
    path = write_jsonl(tmp_path / "samples.jsonl", [{"task_id": name, "solution": "x"}])
    completions, _ = read_completions(path, [Problem("mbpp/7", "?", "")])
    assert completions[0].problem.problem_id == "mbpp/7"


def test_a_null_column_gives_way_to_the_next_and_a_float_id_is_a_number(tmp_path: Path) -> None:
    rows = [
        {"task_id": 7.0, "solution": None, "completion": "x"},
        {"task_id": None, "problem_id": " Mbpp/7 ", "text": "y"},
    ]
    completions, bad = read_completions(write_jsonl(tmp_path / "s.jsonl", rows), [Problem("mbpp/7", "?", "")])
    assert [completion.text for completion in completions] == ["x", "y"] and not bad


GOOD = b'{"task_id": "a", "completion": "2"}'


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_byte_order_mark_and_windows_line_ends_are_read_over(tmp_path: Path, line_end: bytes) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + (GOOD + line_end) * 2)
    completions, bad = read_completions(path, [Problem("a", "?", "2")])
    assert [completion.text for completion in completions] == ["2", "2"] and not bad


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"task_id": "a", "completion": "\xe9"}', "is not UTF-8: invalid continuation byte at byte 32."),
        (b'{"task_id": "a", ', "is not JSON: Expecting property name enclosed in double quotes at character 16."),
        (b'{"task_id": "a", "completion": ' + b"[" * 100_000, "is not JSON that can be read: maximum recursion depth"),
        (b'{"task_id": 1' + b"0" * 5_000 + b"}", "is not JSON that can be read: Exceeds the limit"),
        (b'{"task_id": null, "completion": "x"}', "task_id 'null' is no problem of the task; it has 'a', ..."),
        (b'{"a\\u001b[31m": 1}', r"has no column task_id / problem_id / unique_id / id; it has 'a\x1b[31m'."),
        (json.dumps(dict.fromkeys(map(str, range(99)))).encode(), "it has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 89 more."),
    ],
)
def test_a_line_that_cannot_be_read_says_why_in_a_short_line(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(line + b"\n" + GOOD + b"\n")
    completions, [bad] = read_completions(path, [Problem("a", "?", "2")])
    assert [completion.row for completion in completions] == [2]
    assert bad.row == 1 and reason in bad.reason
    assert len(bad.reason) < 200 and bad.reason.isprintable()


def test_a_file_of_another_kind_than_its_name_says_is_refused_in_one_line(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD * 1_000)
    for name, content, message in (
        ("a.jsonl.gz", GOOD, "is not gzip, or was cut off"),
        ("b.jsonl.gz", packed[:-20], "is not gzip, or was cut off"),
        ("c.parquet", GOOD, "is not Parquet, or is damaged"),
        ("d.parquet", b"", "is not Parquet, or is damaged"),
        ("e.json", GOOD, "must end in .jsonl, .jsonl.gz or .parquet"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_completions(tmp_path / name, [Problem("a", "?", "2")])
    with pytest.raises(InputError, match="is no file"):
        read_completions(tmp_path, [Problem("a", "?", "2")])


def test_the_same_command_scores_only_what_is_left(tmp_path: Path) -> None:
    graded(tmp_path, REPLIES)
    path = tmp_path / "graded" / "verdicts.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    # As a kill in mid-write leaves it; and a verdict that is not the verifier's shows which rows were scored again.
    path.write_text(lines[0].replace('"correct"', '"wrong"') + lines[1] + lines[2][:20])
    summary, printed = graded(tmp_path, REPLIES)
    assert "2 of 4 replies have their verdict from before" in printed
    assert summary.statuses == {"wrong": 3, "correct": 1}
    assert len(verdict_rows(tmp_path)) == 4


def test_a_reply_that_was_changed_is_scored_again(tmp_path: Path) -> None:
    graded(tmp_path, REPLIES)
    summary, printed = graded(tmp_path, [{**REPLIES[0], "completion": "Answer: 9"}, *REPLIES[1:]])
    assert "3 of 4 replies have their verdict" in printed
    assert summary.statuses == {"wrong": 3, "correct": 1}


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    graded(tmp_path, REPLIES)
    with pytest.raises(InputError, match=r"holds verdicts of verifier='exact'; got 'math'. Give another --output"):
        graded(tmp_path, REPLIES, verifier="math")


def test_an_output_that_holds_something_else_is_refused_in_one_line(tmp_path: Path) -> None:
    graded(tmp_path, REPLIES)
    output = tmp_path / "graded"
    for name, message in (("verdicts.jsonl", "line 1 is no verdict"), ("grade.json", "holds no settings")):
        (output / name).write_text("nonsense\n")
        with pytest.raises(InputError, match=message):
            graded(tmp_path, REPLIES)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made: File exists"):
        graded(tmp_path, REPLIES, output=tmp_path / "file")


def test_verdicts_on_problems_that_were_changed_are_refused(tmp_path: Path) -> None:
    graded(tmp_path, REPLIES)
    with pytest.raises(InputError, match=r"holds verdicts of problems=.*Give another --output"):
        graded(
            tmp_path,
            REPLIES,
            dataset=str(write_jsonl(tmp_path / "questions.jsonl", [*QUESTIONS[:1], {**QUESTIONS[1], "answer": "5"}])),
        )


def test_problems_without_replies_and_uneven_groups_are_told(tmp_path: Path) -> None:
    summary, _ = graded(tmp_path, REPLIES[:1])
    assert "1 of 2 problems of the task have no reply" in summary.warnings[0]
    summary, _ = graded(tmp_path, REPLIES[:3], pass_at=(1, 2))
    assert "pass@k above 1 is undefined" in " ".join(summary.warnings)
    assert summary.pass_at[1].estimate != summary.pass_at[1].estimate


def takes_a_second(text: str, problem: Problem) -> bool:
    time.sleep(1)
    return True


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_keeps_what_is_finished_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    write_jsonl(tmp_path / "questions.jsonl", QUESTIONS)
    write_jsonl(tmp_path / "replies.jsonl", REPLIES * 30)
    command = [
        *(sys.executable, "-m", "jobs.grade", "--completions", str(tmp_path / "replies.jsonl")),
        *("--dataset", str(tmp_path / "questions.jsonl"), "--output", str(tmp_path / "graded"), "--workers", "1"),
        *("--verifier", f"{__name__}:takes_a_second"),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    verdicts = tmp_path / "graded" / "verdicts.jsonl"
    deadline = time.monotonic() + 120
    while not (verdicts.is_file() and verdicts.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status
    assert "of 120 verdicts are saved in" in error
    assert 2 <= len(verdicts.read_text().splitlines()) < 120


def test_human_evals_and_evalplus_files_are_graded_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A body alone after the prompt, and a whole program: both are right, an empty body is not."""
    data = SHARED / "data" / "humaneval.jsonl"
    if not data.is_file():
        pytest.skip(f"needs {data}")
    problem = json.loads(data.read_text().splitlines()[0])
    rows = [
        {"task_id": "HumanEval/0", "completion": problem["canonical_solution"]},
        {"task_id": "HumanEval/0", "solution": problem["prompt"] + problem["canonical_solution"]},
        {"task_id": "HumanEval/0", "completion": "    pass\n"},
    ]
    samples = write_jsonl(tmp_path / "samples.jsonl", rows)
    try:
        grade_job.main(
            [
                *("--task", "humaneval", "--dataset", str(data), "--completions", str(samples)),
                *("--output", str(tmp_path / "graded")),
            ]
        )
    except SystemExit:
        pytest.skip("no sandbox works on this machine")
    assert [row["status"] for row in verdict_rows(tmp_path)] == ["correct", "correct", "wrong"]
    assert "pass@1" in capsys.readouterr().out


def test_help_teaches_by_example_and_imports_no_engine() -> None:
    program = (
        "import sys; from jobs.grade import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'ray', 'torch', 'vllm', 'sympy'} & set(sys.modules), sorted(sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--task humaneval --completions replies.jsonl" in shown
    assert '"task_id": "HumanEval/0"' in shown


def test_a_missing_file_and_an_unknown_task_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = str(write_jsonl(tmp_path / "questions.jsonl", QUESTIONS))
    missing = ["--dataset", questions, "--completions", str(tmp_path / "none.jsonl"), "--output", str(tmp_path / "out")]
    for flags, message in (
        (missing, "none.jsonl does not exist"),
        (["--task", "humanevl", *missing], "no task 'humanevl'"),
    ):
        with pytest.raises(SystemExit) as ended:
            grade_job.main(flags)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


def test_more_workers_than_cores_need_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # tests before this one may have started one
    with pytest.raises(
        InputError, match=r"cores; got --workers 1000. Ask for \d+, or name a Ray cluster in RAY_ADDRESS"
    ):
        graded(tmp_path, REPLIES, workers=1000)


@pytest.mark.slow
def test_a_cluster_gives_the_same_verdicts(tmp_path: Path) -> None:
    workers = (os.cpu_count() or 1) + 1
    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        summary, _ = graded(tmp_path, REPLIES, workers=workers)
        with pytest.raises(InputError, match="Each worker needs one"):
            graded(tmp_path / "more", REPLIES, workers=workers + 1)
    finally:
        ray.shutdown()
    assert summary.statuses == {"correct": 2, "wrong": 2}
