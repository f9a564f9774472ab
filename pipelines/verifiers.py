"""The verifiers that ship with the project: plain functions (problem, text) -> Verdict, without time limits of their own.

A verifier of your own is a function of the same form in an importable module, named `--verifier module:function`. It may also return a
bool, or a score from 0 to 1 of which only 1 counts as correct.
"""

import importlib
import re
from collections.abc import Callable
from typing import Any

from pipelines.countdown import CountdownProblem, verify_answer
from pipelines.errors import InputError
from pipelines.problems import Problem
from pipelines.verdict import Verdict, VerdictStatus, plain_verdict

Verifier = Callable[[Problem, str], Verdict | bool | float]

BUILT_IN = {name: f"{__name__}:verify_{name}" for name in ("countdown", "math", "exact")}


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


def verify_countdown(problem: Problem, text: str) -> Verdict:
    """Exact: the steps must hold and reach the target. Raises ValueError if the problem is no Countdown problem."""
    result = verify_answer(CountdownProblem.from_prompt(problem.text), text)
    return plain_verdict(VerdictStatus(result.status), result.extracted, result.detail)


def verify_exact(problem: Problem, text: str) -> Verdict:
    """The final answer equals the reference, letter case, spaces and a closing full stop aside."""
    extracted = final_answer(text)
    if not extracted:
        return plain_verdict(VerdictStatus.NO_ANSWER, detail="the text is empty")
    is_correct = normalised(extracted) == normalised(final_answer(problem.answer))
    return plain_verdict(VerdictStatus.CORRECT if is_correct else VerdictStatus.WRONG, extracted)


def verify_math(problem: Problem, text: str) -> Verdict:
    """Equal as mathematics, by math-verify, which can take for ever or fill the memory: only for a process that can be killed.

    Raises ValueError if the reference cannot be read.
    """
    from math_verify import parse, verify

    # No time limit inside: math-verify's own uses signals, which work on a main thread only. The pool kills from outside.
    gold = parse(boxed_reference(problem.answer), parsing_timeout=None)
    if not gold:
        raise ValueError(
            f"the reference answer {problem.answer[:60]!r} cannot be read as mathematics; use --verifier exact."
        )
    answer = parse(text, parsing_timeout=None)
    if not answer:
        return plain_verdict(VerdictStatus.NO_ANSWER, detail="no mathematical answer found in the text")
    is_correct = verify(gold, answer, timeout_seconds=None)
    return plain_verdict(VerdictStatus.CORRECT if is_correct else VerdictStatus.WRONG, str(answer[-1]))


def boxed_reference(answer: str) -> str:
    r"""A reference answer as math-verify reads it without guessing: GSM8K's is what follows "####", bare LaTeX is put in \boxed{}."""
    if "####" in answer:
        answer = answer.rpartition("####")[2]
    answer = answer.strip()
    return answer if "\\boxed" in answer or "$" in answer else f"\\boxed{{{answer}}}"


def final_answer(text: str) -> str:
    r"""The last \boxed{...}, else what follows the last "####", else the last line that is not blank."""
    boxed = last_boxed(text)
    if boxed:
        return boxed
    if "####" in text:
        return text.rpartition("####")[2].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def last_boxed(text: str) -> str:
    r"""What the last \boxed{...} holds, nested braces included; "" if there is none or it is not closed."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return ""
    depth = 0
    for position in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : position].strip()
    return ""


def normalised(answer: str) -> str:
    """Lower case, single spaces, without dollar signs and a closing full stop."""
    return re.sub(r"\s+", " ", answer.replace("$", "")).strip().removesuffix(".").casefold()
