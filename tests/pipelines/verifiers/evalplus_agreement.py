"""Verdicts beside those that EvalPlus's extraction leads to, on replies of a model: every difference is printed, to be read.

    pip install evalplus
    python -m tests.pipelines.verifiers.evalplus_agreement replies.jsonl HumanEval.jsonl mbpp_sanitized.jsonl

A line of replies.jsonl has a task_id ("HumanEval/3", "mbpp/11") and a completion. EvalPlus's program is run in one file with the prompt, so
that both know its imports, and the tests.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from pipelines.problems.problem import Problem
from pipelines.problems.task import TaskOptions
from pipelines.sandbox.limits import Limits
from pipelines.tasks import humaneval, mbpp
from pipelines.verifiers.code import CodeScorer, CodeSettings
from pipelines.verifiers.verdict import VerdictStatus

TIMEOUT_S = 20.0
FIRST_CALL = re.compile(r"assert\s+(?:not\s+|\(|set\(|sorted\(|list\(|math\.isclose\(|round\()*([A-Za-z_]\w*)")
"""The function that MBPP's first test calls."""


def read_rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def evalplus_program(row: dict[str, Any], completion: str) -> str:
    """What EvalPlus takes for the program, between the prompt or imports and the tests."""
    from evalplus.sanitize import sanitize  # type: ignore[import-not-found,unused-ignore]

    if "entry_point" in row:
        program = sanitize(completion, row["entry_point"])
        return f"{row['prompt']}\n{program}\n{row['test']}\ncheck({row['entry_point']})\n"
    entry_point = FIRST_CALL.search(row["test_list"][0])
    program = sanitize(completion, entry_point[1] if entry_point else None)
    return "\n".join((*row["test_imports"], program, *row["test_list"]))


def passes(source: str) -> bool:
    """Whether a file runs to its end, in a process without a sandbox: use it where you may."""
    command = [sys.executable, "-c", "import sys; exec(sys.stdin.read(), {'__name__': 'program'})"]
    try:
        return subprocess.run(command, input=source, text=True, capture_output=True, timeout=TIMEOUT_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main(replies_path: str, humaneval_path: str, mbpp_path: str) -> None:
    """Print the counts, then each difference."""
    rows = {row["task_id"]: row for row in read_rows(humaneval_path)}
    problems: dict[str, Problem] = {name: humaneval.read_row(row, TaskOptions()) for name, row in rows.items()}
    for row in read_rows(mbpp_path):
        problem = mbpp.read_row(row, TaskOptions())
        rows[problem.problem_id], problems[problem.problem_id] = row, problem
    replies = [(reply["task_id"], reply["completion"]) for reply in read_rows(replies_path)]
    with closing(CodeScorer(CodeSettings(limits=Limits(timeout_s=TIMEOUT_S)))) as scorer, ThreadPoolExecutor(2) as pool:
        ours = list(pool.map(lambda reply: scorer.score(problems[reply[0]], reply[1]), replies))
        theirs = list(pool.map(lambda reply: passes(evalplus_program(rows[reply[0]], reply[1])), replies))
    right = [verdict.status is VerdictStatus.CORRECT for verdict in ours]
    both = Counter(zip(right, theirs, strict=True))
    print(
        f"{len(replies)} replies: both right {both[True, True]}, neither {both[False, False]}, ours only {both[True, False]}, "
        f"EvalPlus's only {both[False, True]}"
    )
    for (name, completion), verdict, is_theirs in zip(replies, ours, theirs, strict=True):
        if (verdict.status is VerdictStatus.CORRECT) != is_theirs:
            print(
                f"\n=== {name}: {verdict.status} ({verdict.rule}) {verdict.detail}\n{completion}\n--- extracted\n{verdict.extracted}"
            )


if __name__ == "__main__":
    main(*sys.argv[1:4])
