"""HumanEval: 164 functions to complete (Chen et al. 2021, arXiv:2107.03374).

lighteval has no HumanEval; the prompt is EvalPlus' for chat models (evalplus/codegen.py, instruction_prefix), without the opening of
the reply that EvalPlus also puts into the model's mouth. Without a chat template the model goes on with the function itself, as in the
paper. The hub's copy was not loaded here; the file of openai/human-eval, which has the same columns, was.
"""

import json

from pipelines.problems.problem import Problem
from pipelines.problems.task import HubSource, Row, Task, TaskOptions

CODE_PROMPT = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
    "```\n{problem}\n```\n"
)
CODE_PROMPT_SOURCE = "EvalPlus, instruction_prefix"
NEXT_STATEMENTS = ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ", "\nif __name__", "\nprint(")
"""What a base model goes on with behind the function: EvalPlus' stop words for HumanEval."""


def read_row(row: Row, options: TaskOptions) -> Problem:
    """The function's head and docstring; the answer holds what runs the tests: check(candidate)."""
    tests = {"entry_point": row["entry_point"], "prompt": row["prompt"], "test": row["test"]}
    return Problem(row["task_id"], row["prompt"].strip(), json.dumps(tests))


TASK = Task(
    name="humaneval",
    source=HubSource("openai/openai_humaneval"),
    rows=read_row,
    prompt=CODE_PROMPT,
    raw_prompt="{problem}\n",
    raw_stop=NEXT_STATEMENTS,
    prompt_source=CODE_PROMPT_SOURCE,
    verifier="code",
    max_tokens=1024,
    num_problems=164,
)
