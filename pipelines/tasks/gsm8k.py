"""GSM8K: 1,319 word problems of the test split (Cobbe et al. 2021, arXiv:2110.14168). The answer's column ends in "#### 18".

The prompt is lighteval's zero-shot one (tasks/default_prompts.py, gsm8k). It allows 256 tokens and stops at "Question:"; chat models
write longer solutions, which 256 tokens would cut off. The hub's copy was not loaded here; a byte copy was.
"""

from pipelines.problems.task import Columns, HubSource, Task

TASK = Task(
    name="gsm8k",
    source=HubSource("openai/gsm8k", "main"),
    rows=Columns(problem=("question",), answer=("answer",)),
    prompt="Question: {problem}\nAnswer:",
    prompt_source="lighteval, gsm8k",
    verifier="math",
    num_problems=1319,
    max_tokens=1024,
)
