"""AIME 2024: both papers, 30 problems, each answer an integer from 0 to 999.

Source and split as in lighteval (tasks/tasks/aime.py); columns there: id, problem, solution, answer. Copies name the answer
expected_answer: both are read. The hub's copy was not loaded here; a local copy of the same 30 problems was.
"""

from pipelines.problems.task import Columns, HubSource, Task
from pipelines.tasks.math500 import MATH_PROMPT, MATH_PROMPT_SOURCE

TASK = Task(
    name="aime2024",
    source=HubSource("HuggingFaceH4/aime_2024", split="train"),
    rows=Columns(problem=("problem",), answer=("answer", "expected_answer"), id=("id",)),
    prompt=MATH_PROMPT,
    prompt_source=MATH_PROMPT_SOURCE,
    verifier="math",
    num_problems=30,
    max_tokens=8192,
)
