r"""Mathematics: is the answer in a text equal to the reference, however it is written? By math-verify (Hynek Kydlíček et al.), on sympy.

What is added to math-verify's own extraction, and why, is in docs/verifiers.md with the cases it changes:
- an answer announced without dollar signs ("the final answer is \frac{1}{2}") is read as LaTeX too, not for its last number only;
- an answer that is there and cannot be read is a parse error, not a wrong answer; an error of the comparison is an error;
- "x <= 0" is the interval from minus infinity to 0;
- small decimals are compared to six significant digits, not six decimal places;
- "204_5" is not "204_6".
"""

import logging
import math
import re
from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from sympy import Expr

from pipelines.problems.problem import Problem
from pipelines.verifiers.final_answer import announced_answer, answering_part
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict

# It warns once per process that its time limits are off. They are on purpose: see `verify_math`.
logging.getLogger("math_verify").setLevel(logging.ERROR)

TARGETS = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())
"""A box wins over any other form of the answer, the last box over the others, as in lighteval."""
SIGNIFICANT_DIGITS = 6
"""To which decimals must agree: math-verify's default, which counts them from the decimal point."""
MATH_MODE = re.compile(r"(?<!\\)\$|\\\(|\\\[")
DISPLAY_EDGES = re.compile(r"(?<=\\\[)\s+|\s+(?=\\\])|(?<=\$\$)\s+|\s+(?=\$\$)")
BASE = re.compile(r"[0-9A-Z]_\{?([0-9]+)\}?$")

Parsed = list[Any]
"""What math-verify read: a sympy object where it could, and the text it took, last."""


def verify_math(text: str, problem: Problem) -> Verdict:
    """Equal as mathematics or not. Can take for ever or fill the memory: only for a process that can be killed from outside.

    math-verify's own time limits are off: they use signals, which work on a main thread only, and off it score every answer wrong.
    Raises ValueError if the reference cannot be read, and whatever math-verify or sympy raise while they compare.
    """
    reference = parsed_reference(problem.answer)
    answers = [answer for reading in readings(text) if (answer := read(reading))]
    for answer in answers:
        if is_equal(reference, answer):
            return plain_verdict(VerdictStatus.CORRECT, str(answer[-1]))
    if not answers:
        return plain_verdict(VerdictStatus.NO_ANSWER, detail="no mathematical answer found in the text")
    if all(isinstance(answer[0], str) for answer in answers):
        return plain_verdict(VerdictStatus.PARSE_ERROR, str(answers[0][-1]), "cannot be read as mathematics")
    return plain_verdict(VerdictStatus.WRONG, str(answers[0][-1]))


def readings(text: str) -> list[str]:
    """What math-verify shall look for the answer in: the text, or an answer that is announced and not boxed, by itself.

    Outside math mode that has two readings: as LaTeX, and as plain text ("72 dollars a week").
    """
    text = answering_part(text)
    announced = announced_answer(text)
    if "\\boxed" in text or not announced:
        return [text]
    as_text, as_latex = f"Answer: {announced}", f"\\boxed{{{announced}}}"
    if MATH_MODE.search(announced):
        return [as_text]
    # As plain text "204_6" would be 204.
    return [as_latex] if BASE.search(announced) else [as_latex, as_text]


def read(text: str) -> Parsed:
    """The answer math-verify finds, empty if none."""
    parsed: Parsed = parse(DISPLAY_EDGES.sub("", text), TARGETS, parsing_timeout=None, raise_on_error=True)
    return parsed


@lru_cache(maxsize=1024)
def parsed_reference(answer: str) -> Parsed:
    """The reference answer, parsed once for all samples of a problem. Raises ValueError if it cannot be read."""
    parsed = read(boxed_reference(answer))
    if not parsed:
        raise ValueError(f"the reference answer {answer[:60]!r} cannot be read as mathematics; use --verifier exact.")
    return parsed


def boxed_reference(answer: str) -> str:
    r"""A reference answer as math-verify reads it without guessing: GSM8K's is what follows "####", bare LaTeX is put in \boxed{}."""
    if "####" in answer:
        answer = answer.rpartition("####")[2]
    answer = answer.strip()
    return answer if "\\boxed" in answer or MATH_MODE.search(answer) else f"\\boxed{{{answer}}}"


def is_equal(reference: Parsed, answer: Parsed) -> bool:
    """math-verify's comparison, with small numbers compared at their own scale and number bases told apart."""
    bases = [match[1] for parsed in (reference, answer) if (match := BASE.search(str(parsed[-1])))]
    if len(set(bases)) > 1:
        return False
    equal: bool = verify(
        reference,
        answer,
        float_rounding=decimal_places(reference[0]),
        allow_set_relation_comp=True,
        timeout_seconds=None,
        raise_on_error=True,
    )
    return equal


def decimal_places(reference: Any) -> int:
    """Decimal places that are SIGNIFICANT_DIGITS digits of a number below 0.1, else as many as that."""
    if not (isinstance(reference, Expr) and reference.is_number and reference.is_real):
        return SIGNIFICANT_DIGITS
    magnitude = abs(float(reference))
    if not 0 < magnitude < 0.1:
        return SIGNIFICANT_DIGITS
    return SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(magnitude))
