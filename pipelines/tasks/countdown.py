"""Countdown: the task that ships with the project, its model and as many problems as are wanted (pipelines/problems/countdown.py).

The prompt is the problem alone, in the form the embedded model was trained on. A dataset of one's own has such problems as its column.
"""

from pipelines.problems.countdown import evaluation_problems
from pipelines.problems.problem import Problem
from pipelines.problems.task import Columns, EmbeddedSource, Task

USUAL_NUMBER = 100
"""Problems if no limit is given; any limit can be had."""


def embedded_problems(limit: int | None) -> list[Problem]:
    """Held-out problems; the answer is the target."""
    return [Problem(p.problem_id, p.prompt, str(p.target)) for p in evaluation_problems(limit or USUAL_NUMBER)]


TASK = Task(
    name="countdown",
    source=EmbeddedSource(embedded_problems),
    rows=Columns(problem=("problem", "prompt"), answer=("answer", "target"), id=("problem_id", "id")),
    prompt_source="the embedded model's own",
    verifier="countdown",
    num_problems=USUAL_NUMBER,
)
