"""MATH-500: 500 problems of the MATH test set (Hendrycks et al. 2021, arXiv:2103.03874) that Lightman et al. 2023 (arXiv:2305.20050)
drew for their evaluation.

The prompt is lighteval's for MATH and AIME in the releases of 2025 (tasks/default_prompts.py, MATH_QUERY_TEMPLATE, itself after
simple-evals and Llama 3), two spaces after "clearly." included. Newer releases of lighteval ask for "ANSWER: $ANSWER" on MATH-500
instead: the verifier reads that too, --template sets it. The hub's copy was not loaded here; a byte copy of the split was.
"""

from pipelines.problems.task import Columns, HubSource, Task

MATH_PROMPT = (
    "Solve the following math problem efficiently and clearly.  The last line of your response should be of the following format: "
    "'Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct' (without quotes) where ANSWER is just the final number "
    "or expression that solves the problem. Think step by step before answering.\n\n{problem}"
)
MATH_PROMPT_SOURCE = "lighteval, MATH_QUERY_TEMPLATE"

TASK = Task(
    name="math500",
    source=HubSource("HuggingFaceH4/MATH-500"),
    rows=Columns(problem=("problem",), answer=("answer",), id=("unique_id",)),
    prompt=MATH_PROMPT,
    prompt_source=MATH_PROMPT_SOURCE,
    verifier="math",
    num_problems=500,
    max_tokens=4096,
)
