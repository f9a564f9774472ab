"""Multiple choice: the letter of a reply, in the forms that models write."""

import pytest

from pipelines.problems.problem import Problem
from pipelines.verifiers.choice import verify_choice

FORMS = [
    ("I think so.\nAnswer: C", "C"),
    ("**Answer:** (C)", "C"),
    ("**Answer**: C", "C"),
    ("**Answer: C**", "C"),
    ("### Answer\n\nC", "C"),
    ("Answer:\n\nC", "C"),
    ("Answer: $C$", "C"),
    ("Answer: `C`", "C"),
    ('Answer: "C"', "C"),
    ("Answer： C", "C"),
    ("答案是C。", "C"),
    ("Answer: Option C", "C"),
    ("Answer: C) 15 apples", "C"),
    ("The correct answer is option C) 15", "C"),
    ("The correct option is (C).", "C"),
    ("Answer: The letter is C.", "C"),
    ("Answer: \\boxed{C}", "C"),
    ("Answer: $\\text{(C)}$", "C"),
    ("The answer is \\text{C}.", "C"),
    ("thus $\\boxed{\\text{C}}$", "C"),
    ("\\boxed{\\textbf{C}}", "C"),
    ("Final Answer: The final answer is $\\boxed{C}$", "C"),
    ("<answer>C</answer>", "C"),
    ("It must be the third.\n\nC)", "C"),
    ("C. Paris", "C"),
    ("I would go with C.", "C"),
]
CHANGES_OF_MIND = [
    ("Answer: A\nNo, wait.\nAnswer: C", "C"),
    ("Answer: C. The answer A is wrong since it is.", "C"),
    ("Answer: C\n\nThe answer A is wrong.", "C"),
    ("Answer: (C) because A is wrong", "C"),
    ("Answer: I think it is C", "C"),
    ("Answer: not A, but C", "C"),
    ("Answer: Neither A nor B but C", "C"),
    ("The answer is C, not B.", "C"),
    ("The answer is A. No, I would choose C", "C"),
    ("<think>Answer: A</think>Answer: C", "C"),
    ("Answer: D", "D"),
]
NONE = [
    "'Answer: $LETTER' it shall be",
    "A molecule has a charge. C is carbon",
    "Answer: Carbon",
    "Answer: A car",
    "<think>Answer: C",
    "\\boxed{C} and not \\boxed{D",
    "",
]


@pytest.mark.parametrize(("text", "letter"), FORMS + CHANGES_OF_MIND)
def test_the_letter_that_is_chosen_is_found_in_every_form(text: str, letter: str) -> None:
    verdict = verify_choice(text, Problem("p", "?", "C"))
    assert (verdict.extracted, verdict.status) == (letter, "correct" if letter == "C" else "wrong")


@pytest.mark.parametrize("text", NONE)
def test_a_letter_that_nobody_chose_is_no_answer(text: str) -> None:
    assert verify_choice(text, Problem("p", "?", "C")).status == "no_answer"


def test_two_letters_are_not_right() -> None:
    assert verify_choice("Answer: A or C", Problem("p", "?", "C")).status == "wrong"
    assert verify_choice("Answer: A or C", Problem("p", "?", "A")).status == "wrong"


@pytest.mark.parametrize("reference", ["(C)", "C", "c", "\\text{(C)}"])
def test_a_reference_may_be_in_brackets(reference: str) -> None:
    assert verify_choice("Answer: C", Problem("p", "?", reference)).status == "correct"
