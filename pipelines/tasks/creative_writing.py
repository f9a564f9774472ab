"""Creative writing: the model goes on with the opening of a story. Nothing is right or wrong: no verifier, and pass@k is undefined.

What such a run is for are measures of its samples, diversity and coherence. The prompt is the opening itself, without a chat template.
There is no usual hub dataset: give openings of your own, --dataset openings.jsonl with a column "opening" (or "text").
"""

from pipelines.problems.task import Columns, Task

TASK = Task(
    name="creative_writing",
    source=None,
    rows=Columns(problem=("opening", "text", "prompt"), id=("id",)),
    prompt_source="the opening alone",
    verifier="none",
    max_tokens=1024,
    chat=False,
)
