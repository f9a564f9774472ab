"""The verifiers that ship with the project: plain functions (text, problem) -> Verdict, without time limits of their own.

A verifier of your own is a function of the same form in an importable module, named `--verifier module:function`: it is given the
sample's text and the problem. It may also return a bool, or a score from 0 to 1 of which only 1 counts as correct. See docs/verifiers.md.
"""

import importlib
import re
from collections.abc import Callable
from typing import Any

from pipelines.errors import InputError
from pipelines.problems.countdown import CountdownProblem, verify_answer
from pipelines.problems.problem import Problem
from pipelines.verifiers.final_answer import answering_part, final_answer, last_boxed, last_line, normalised
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict

Verifier = Callable[[str, Problem], Verdict | bool | float]
"""Of a sample's text and its problem."""

BUILT_IN = {
    "countdown": f"{__name__}:verify_countdown",
    "exact": f"{__name__}:verify_exact",
    "choice": f"{__name__}:verify_choice",
    "math": "pipelines.verifiers.math:verify_math",
}
"""Verifiers that are functions. code, judge and none are scorers of their own: see pipelines/stages/verify.py."""

LETTER = r"[\s*_`$(]*(?:\\boxed\{|\\text\{|\\mathrm\{)*\s*\(?([A-J])(?![A-Za-z0-9'])"
"""One letter, however it is set off."""
ANSWER_LETTER = re.compile(rf"(?i:answer)\s*(?i:is)?\s*[:=]?{LETTER}")
LONE_LETTER = re.compile(rf"{LETTER}[\s*_`$)}}.]*")


def load_verifier(path: str) -> Verifier:
    """The function that "module:function" names. Raises InputError if there is none."""
    module_name, _, function_name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"verifier {path}: module {module_name} cannot be imported ({error}); put it where Python finds it."
        ) from error
    function: Any = vars(module).get(function_name)
    if not callable(function):
        raise InputError(f"verifier {path}: module {module_name} has no function {function_name!r}.")
    verifier: Verifier = function
    return verifier


def verify_countdown(text: str, problem: Problem) -> Verdict:
    """Exact: the steps must hold and reach the target. Raises ValueError if the problem is no Countdown problem."""
    result = verify_answer(CountdownProblem.from_prompt(problem.text), text)
    return plain_verdict(VerdictStatus(result.status), result.extracted, result.detail)


def verify_exact(text: str, problem: Problem) -> Verdict:
    """The final answer equals the reference, letter case, spaces and a closing full stop aside."""
    extracted = final_answer(text)
    if not extracted:
        return plain_verdict(VerdictStatus.NO_ANSWER, detail="the text is empty")
    is_correct = normalised(extracted) == normalised(final_answer(problem.answer))
    return plain_verdict(VerdictStatus.CORRECT if is_correct else VerdictStatus.WRONG, extracted)


def verify_choice(text: str, problem: Problem) -> Verdict:
    r"""The letter chosen equals the reference: the last of "Answer: C", else \boxed{C}, else a letter that is the whole last line.

    A letter in mid-sentence is no answer. Simple-evals' pattern for GPQA, "Answer: $LETTER", is the first of these.
    """
    text = answering_part(text)
    announced = ANSWER_LETTER.findall(text)
    lone = LONE_LETTER.fullmatch(last_boxed(text)) or LONE_LETTER.fullmatch(last_line(text))
    if not announced and lone is None:
        return plain_verdict(VerdictStatus.NO_ANSWER, detail='no letter after "Answer:", in a box or on the last line')
    letter = announced[-1] if announced or lone is None else lone[1]
    return plain_verdict(VerdictStatus.CORRECT if letter == problem.answer else VerdictStatus.WRONG, letter)
