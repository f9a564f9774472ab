"""MBPP: short functions by their description (Austin et al. 2021, arXiv:2108.07732). By default the sanitized 257 of the test split.

The full file with its 974 rows is read too (--dataset mbpp.jsonl): it calls the description `text`, has `test_setup_code` in place of
`test_imports`, and a `challenge_test_list` that no published number runs, nor does this.

lighteval has no MBPP; the prompt is EvalPlus': the task and its first test in a docstring, inside the same instruction as HumanEval.
The docstring's form is from memory of EvalPlus' data. The hub's copy was not loaded here; a copy of all 427 sanitized rows was.
"""

import json

from pipelines.errors import InputError
from pipelines.problems.problem import Problem
from pipelines.problems.task import HubSource, Row, Task, TaskOptions
from pipelines.tasks.humaneval import CODE_PROMPT, CODE_PROMPT_SOURCE

NEXT_PROBLEM = ('\n"""', "\nassert", "\nif __name__", "\nprint(")
"""What a base model goes on with behind its functions: EvalPlus' stop words for MBPP."""


def docstring(row: Row) -> str:
    """The task and its first test: without that, nobody can know the function's name. Raises InputError if the row has neither form."""
    description = row.get("prompt") or row.get("text")
    if not isinstance(description, str):
        raise InputError(f"a row of MBPP must have its task as text in prompt or text; this one has {', '.join(row)}.")
    return f'"""\n{description.strip()}\n{row["test_list"][0]}\n"""'


def read_row(row: Row, options: TaskOptions) -> Problem:
    """The answer holds the assertions that must pass, what they import, and what is run before them."""
    setup = row.get("test_setup_code") or ""
    tests = {
        "test_imports": list(row.get("test_imports") or ()),
        # It may call the program, as in root = Node(1): it is a part of the tests.
        "test_list": [*([setup] if setup.strip() else ()), *row["test_list"]],
    }
    return Problem(f"mbpp/{row['task_id']}", docstring(row), json.dumps(tests))


TASK = Task(
    name="mbpp",
    source=HubSource("google-research-datasets/mbpp", "sanitized"),
    rows=read_row,
    prompt=CODE_PROMPT,
    raw_prompt="{problem}\n",
    raw_stop=NEXT_PROBLEM,
    prompt_source=CODE_PROMPT_SOURCE,
    verifier="code",
    max_tokens=1024,
    num_problems=257,
)
