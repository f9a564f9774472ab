"""GPQA-Diamond: 198 multiple-choice questions (Rein et al. 2023, arXiv:2311.12022). The hub asks for its terms to be accepted (HF_TOKEN).

The prompt is lighteval's gpqa_instruct, which is that of simple-evals. Where those shuffle anew in each run, here the order of a
question's choices follows from --choices-seed, which the manifest keeps, and from the question's id: another limit or another order of
rows changes nothing. The hub's copy was not loaded here: the columns are those lighteval reads.
"""

import random

from pipelines.problems.problem import Problem
from pipelines.problems.task import HubSource, Row, Task, TaskOptions

LETTERS = "ABCD"


def read_row(row: Row, options: TaskOptions) -> Problem:
    """The question with its four choices in a shuffled order; the answer is a letter."""
    correct = row["Correct Answer"].strip()
    choices = [correct, *(row[f"Incorrect Answer {number}"].strip() for number in (1, 2, 3))]
    order = list(range(len(choices)))
    random.Random(f"{options.choices_seed}/{row['Record ID']}").shuffle(order)
    listed = "\n".join(f"{letter}) {choices[index]}" for letter, index in zip(LETTERS, order, strict=True))
    return Problem(row["Record ID"], f"{row['Question'].strip()}\n\n{listed}", LETTERS[order.index(0)])


TASK = Task(
    name="gpqa_diamond",
    source=HubSource("Idavidrein/gpqa", "gpqa_diamond", split="train"),
    rows=read_row,
    prompt=(
        "Answer the following multiple choice question. The last line of your response should be of the following format: "
        "'Answer: $LETTER' (without quotes) where LETTER is one of ABCD. Think step by step before answering.\n\n{problem}"
    ),
    prompt_source="lighteval, gpqa_instruct",
    verifier="choice",
    options=frozenset({"choices_seed"}),
    num_problems=198,
    max_tokens=8192,
)
