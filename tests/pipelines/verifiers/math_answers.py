r"""Reference answers written in other ways, and answers that are nearly but not quite the reference: made from the answer's own text.

Everything here is LaTeX as MATH writes it: "\frac{3}{56}", "(3,4]", "1,-2", "10,\!080".
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction

INTEGER = re.compile(r"-?[0-9]+")
FRACTION = re.compile(r"(-?)\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}")
INTERVAL = re.compile(r"([(\[])([^,]+),([^,]+)([)\]])")
FINITE_SET = re.compile(r"(?![0-9]{1,3}(?:,[0-9]{3})+$)-?[0-9]+(?:, ?-?[0-9]+)+")
"""Not a number with separators of thousands."""

FRAMES: dict[str, Callable[[str], str]] = {
    "boxed": lambda answer: f"First $2+2=4$. Thus $\\boxed{{{answer}}}$.",
    "boxed, no dollars": lambda answer: f"so we get \\boxed{{{answer}}}",
    "boxed after another box": lambda answer: f"At first $\\boxed{{1234567}}$? No: $\\boxed{{{answer}}}$",
    "as the prompt asks": lambda answer: (
        f"Therefore, the final answer is: $\\boxed{{{answer}}}$. I hope it is correct."
    ),
    "sentence": lambda answer: f"We add 2 and 3. So the answer is ${answer}$.",
    "display": lambda answer: f"We conclude that it is\n\\[\n{answer}\n\\]\n",
    "ANSWER:": lambda answer: f"Step 1: 2 apples.\n\nANSWER: ${answer}$",
    "bold": lambda answer: f"3 steps later.\n\n**Final Answer:** $\\boxed{{{answer}}}$",
    "no dollars": lambda answer: f"There are 7 ways. The final answer is {answer}",
    "no dollars, full stop": lambda answer: f"There are 7 ways.\nAnswer: {answer}.",
    "GSM8K": lambda answer: f"2 + 3 = <<2+3=5>>5\n#### {answer}",
}
"""Texts around an answer."""

BROKEN = {
    "empty": "",
    "no answer": "I cannot do this.",
    "cut off in the box": "so $\\boxed{\\frac{1",
    "cut off before the answer": "We have $x = y$ and then",
    "garbage": "\\frac{{{ } $ ^_ %%",
    "unreadable box": "$\\boxed{\\int_{?}^{!} @ \\frac{}{}}$",
    "prose": "The answer is that there is no such number.",
    "empty box": "\\boxed{}",
    "the prompt's own words": "Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct",
}
"""Texts without an answer that could be right."""


def equivalents(answer: str) -> Iterator[str]:
    """The same value, written otherwise."""
    if INTEGER.fullmatch(answer):
        yield f"{answer}.0"
        yield f"{answer}\\text{{ dollars}}"
        yield f"\\frac{{{2 * int(answer)}}}{{2}}"
        yield f"x = {answer}"
        if abs(int(answer)) >= 1000:
            yield f"{int(answer):,}"
    if match := FRACTION.fullmatch(answer):
        sign, numerator, denominator = match.groups()
        yield f"{sign}\\dfrac{{{numerator}}}{{{denominator}}}"
        yield f"{sign}{numerator}/{denominator}"
        yield f"{sign}\\frac{{{3 * int(numerator)}}}{{{3 * int(denominator)}}}"
        value = Fraction(int(numerator), int(denominator))
        if 10**5 % value.denominator == 0:
            yield f"{sign}{float(value)}"
    if match := INTERVAL.fullmatch(answer):
        left, low, high, right = match.groups()
        yield f"\\left{left} {low}, {high} \\right{right}"
    if FINITE_SET.fullmatch(answer):
        yield ", ".join(reversed(answer.split(",")))
        yield f"\\{{{answer}\\}}"
    if answer.endswith("^\\circ"):
        yield answer.removesuffix("^\\circ")
        yield answer.replace("^\\circ", "\\text{ degrees}")


def near_misses(answer: str) -> Iterator[str]:
    """Other values, each one slip away. What differs in value only through infinity or minus zero is left out."""
    if answer.strip("0") == "":
        yield "1"
        return
    for match in re.finditer(r"(?<![0-9.!^])[0-9]+(?![0-9.]|,\\!)", answer):
        yield answer[: match.start()] + str(int(match[0]) + 1) + answer[match.end() :]
    if match := FRACTION.fullmatch(answer):
        yield f"{match[1]}\\frac{{{match[3]}}}{{{match[2]}}}"
    if match := re.search(r"[0-9a-z}] ?([-+]) ?[0-9a-z\\]", answer):
        yield answer[: match.start(1)] + ("-" if match[1] == "+" else "+") + answer[match.end(1) :]
    if re.match(r"-?(?:[0-9.]|\\[dt]?frac|\\sqrt|\\pi)", answer) and "," not in answer and "\\pm" not in answer:
        yield answer[1:] if answer.startswith("-") else f"-{answer}"
    if match := INTERVAL.fullmatch(answer):
        left, low, high, right = match.groups()
        if "infty" not in low:
            yield f"{'[' if left == '(' else '('}{low},{high}{right}"
        if "infty" not in high:
            yield f"{left}{low},{high}{']' if right == ')' else ')'}"
    if FINITE_SET.fullmatch(answer):
        yield answer.rpartition(",")[0]
        yield f"{answer}, 99"
    if answer.startswith("(") and answer.endswith(")") and answer.count(",") >= 1 and "cup" not in answer:
        yield "(" + ",".join(reversed(answer[1:-1].split(","))) + ")"
    if "\\sqrt" in answer:
        yield answer.replace("\\sqrt", "", 1)
    if "\\pi" in answer:
        yield answer.replace("\\pi", "", 1)
    if match := re.fullmatch(r"\\text\{\(?([A-Za-z]+)\)?\}", answer):
        yield answer.replace(match[1], "A" if match[1] != "A" else "B")
    if match := re.fullmatch(r"(\S+)_\{?([0-9])\}?", answer):
        yield f"{match[1]}_{int(match[2]) + 1}"
