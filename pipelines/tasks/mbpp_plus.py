"""MBPP+: 378 tasks of MBPP with some 35 times as many tests (Liu et al. 2023, arXiv:2305.01210). Its tests import
numpy, which the sandbox lets them.

The prompt is MBPP's. The column "test" is one script that runs every test; it stands as the only item of the list of tests. The hub's copy
was not loaded here.
"""

import json
from dataclasses import replace

from pipelines.problems.problem import Problem
from pipelines.problems.task import HubSource, Row, TaskOptions
from pipelines.tasks import mbpp


def read_row(row: Row, options: TaskOptions) -> Problem:
    """The answer holds the script of all tests, and what it imports."""
    tests = {"test_imports": list(row["test_imports"]), "test_list": [row["test"]]}
    return Problem(f"mbpp/{row['task_id']}", mbpp.docstring(row), json.dumps(tests))


TASK = replace(mbpp.TASK, name="mbpp_plus", source=HubSource("evalplus/mbppplus"), rows=read_row, num_problems=378)
