"""GSM8K: 1,319 word problems of the test split (Cobbe et al. 2021, arXiv:2110.14168). The answer's column ends in "#### 18".

The prompt is lighteval's zero-shot one (tasks/default_prompts.py, gsm8k). It allows 256 tokens, which would cut off the longer
solutions of chat models; its stop at "Question:" is for base models. The hub's copy was not loaded here; a byte copy was.
"""

from pipelines.problems.task import Columns, HubSource, Task

TASK = Task(
    name="gsm8k",
    source=HubSource("openai/gsm8k", "main"),
    rows=Columns(problem=("question",), answer=("answer",)),
    prompt="Question: {problem}\nAnswer:",
    prompt_source="lighteval, gsm8k",
    verifier="math",
    raw_stop=("Question:",),
    num_problems=1319,
    max_tokens=1024,
)
