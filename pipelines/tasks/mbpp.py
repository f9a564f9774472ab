"""MBPP, sanitized: 257 short functions of the test split (Austin et al. 2021, arXiv:2108.07732).

lighteval has no MBPP; the prompt is EvalPlus': the task and its first test in a docstring, inside the same instruction as HumanEval.
The docstring's form is from memory of EvalPlus' data. The hub's copy was not loaded here; a copy of all 427 sanitized rows was.
"""

import json

from pipelines.problems.problem import Problem
from pipelines.problems.task import HubSource, Row, Task, TaskOptions
from pipelines.tasks.humaneval import CODE_PROMPT, CODE_PROMPT_SOURCE


def docstring(row: Row) -> str:
    """The task and its first test: without that, nobody can know the function's name."""
    return f'"""\n{row["prompt"].strip()}\n{row["test_list"][0]}\n"""'


def read_row(row: Row, options: TaskOptions) -> Problem:
    """The answer holds the assertions that must pass, and what they import."""
    tests = {"test_imports": list(row["test_imports"]), "test_list": list(row["test_list"])}
    return Problem(f"mbpp/{row['task_id']}", docstring(row), json.dumps(tests))


TASK = Task(
    name="mbpp",
    source=HubSource("google-research-datasets/mbpp", "sanitized"),
    rows=read_row,
    prompt=CODE_PROMPT,
    raw_prompt="{problem}\n",
    prompt_source=CODE_PROMPT_SOURCE,
    verifier="code",
    max_tokens=1024,
    num_problems=257,
)
