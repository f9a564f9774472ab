"""Any dataset with a column of problems and one of answers: what --dataset means without --task.

The columns can be named (--problem-column, --answer-column, --id-column), the prompt set (--template), the verifier chosen (--verifier).
"""

from pipelines.problems.task import Columns, Task

TASK = Task(
    name="columns",
    source=None,
    rows=Columns(
        problem=("problem", "question", "prompt"),
        answer=("answer", "expected_answer", "solution"),
        id=("problem_id", "unique_id", "task_id", "id"),
    ),
    prompt_source="the user's",
    verifier="math",
    max_tokens=2048,
)
