"""Exact: the final answer beside the reference, in the forms that models write."""

import pytest

from pipelines.problems.problem import Problem
from pipelines.verifiers.exact import verify_exact


@pytest.mark.parametrize(
    ("answer", "text", "status"),
    [
        ("42", "First 40, then\n42.", "correct"),
        ("Evelyn", "so it is \\boxed{ evelyn }", "correct"),
        ("Evelyn", "Answer: **Evelyn**", "correct"),
        ("Evelyn", "**Evelyn**", "correct"),
        ("Evelyn", "Answer: *Evelyn*.", "correct"),
        ("Evelyn", "\\boxed{\\text{Evelyn}}", "correct"),
        ("Evelyn", "\\boxed{\\textbf{\\text{Evelyn}}}", "correct"),
        ("\\text{Evelyn}", "Answer: Evelyn", "correct"),
        ("Evelyn", "Answer: `Evelyn`", "correct"),
        ("Evelyn", 'Answer: "Evelyn."', "correct"),
        ("Evelyn", "<answer> Evelyn </answer>", "correct"),
        ("Evelyn", "Answer： Evelyn", "correct"),
        ("snake_case", "Answer: snake_case", "correct"),
        ("x*y", "Answer: x*y", "correct"),
        ("Evelyn", "Answer: Evelyn or Anna", "wrong"),
        ("Evelyn", "<think>Evelyn", "no_answer"),
        ("Evelyn", "\\boxed{Evelyn} no, \\boxed{Ann", "no_answer"),
        ("long story #### 72", "#### 72", "correct"),
        ("42", "\\boxed{\\frac{1}{2}} or 42", "wrong"),
        ("42", "  \n", "no_answer"),
    ],
)
def test_exact(answer: str, text: str, status: str) -> None:
    assert verify_exact(text, Problem("p", "?", answer)).status == status
