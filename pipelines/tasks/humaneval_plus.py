"""HumanEval+: HumanEval with some 80 times as many tests (Liu et al. 2023, arXiv:2305.01210). Its tests import
numpy, which the sandbox lets them.

The prompt is HumanEval's. The hub's copy was not loaded here: the columns are HumanEval's.
"""

from pipelines.problems.task import HubSource, Task
from pipelines.tasks.humaneval import CODE_PROMPT, CODE_PROMPT_SOURCE, NEXT_STATEMENTS, read_row

TASK = Task(
    name="humaneval_plus",
    source=HubSource("evalplus/humanevalplus"),
    rows=read_row,
    prompt=CODE_PROMPT,
    raw_prompt="{problem}\n",
    raw_stop=NEXT_STATEMENTS,
    prompt_source=CODE_PROMPT_SOURCE,
    verifier="code",
    max_tokens=1024,
    num_problems=164,
)
