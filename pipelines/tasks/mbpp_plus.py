"""MBPP+: 378 tasks of MBPP with some 35 times as many tests (Liu et al. 2023, arXiv:2305.01210). Its tests import
numpy, which the sandbox lets them.

The prompt is MBPP's. The column "test" is one script that runs every test; it stands as the only item of the list of tests. The hub's copy
was not loaded here.
"""

import json

from pipelines.problems.problem import Problem
from pipelines.problems.task import HubSource, Row, Task, TaskOptions
from pipelines.tasks.humaneval import CODE_PROMPT, CODE_PROMPT_SOURCE
from pipelines.tasks.mbpp import NEXT_PROBLEM, docstring


def read_row(row: Row, options: TaskOptions) -> Problem:
    """The answer holds the script of all tests, and what it imports."""
    tests = {"test_imports": list(row["test_imports"]), "test_list": [row["test"]]}
    return Problem(f"mbpp/{row['task_id']}", docstring(row), json.dumps(tests))


TASK = Task(
    name="mbpp_plus",
    source=HubSource("evalplus/mbppplus"),
    rows=read_row,
    prompt=CODE_PROMPT,
    raw_prompt="{problem}\n",
    raw_stop=NEXT_PROBLEM,
    prompt_source=CODE_PROMPT_SOURCE,
    verifier="code",
    max_tokens=1024,
    num_problems=378,
)
