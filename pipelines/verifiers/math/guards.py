r"""What is refused before a parser or sympy sees it: towers of powers, factorials, sums of a trillion terms, thousands of brackets.

Evaluating them takes hours or all memory, and parsing takes time exponential in the depth of brackets. Each check reads the text once.
The limits are far beyond any reference of MATH-500, AIME or GSM8K, whose longest has 60 characters in brackets two deep.
"""

import re

MAX_RAW_CHARACTERS = 20_000
"""Before notation.py has read it."""
MAX_CHARACTERS = 1500
"""In normal notation."""
MAX_DEPTH = 12
"""Of brackets of any kind, redundant ones removed: math-verify's grammar takes 14 s for 30."""
MAX_EXPONENT = 20_000
"""Of a number: 6,000 digits for a base of 2."""
MAX_FACTORIAL = 3_000
MAX_BINOMIAL = 20_000
MAX_TERMS = 100_000
"""Of a sum or product with numbers for bounds."""
MAX_DIGITS = 400

BRACES = "{(["
CLOSING = "})]"
UPPER_BOUND = re.compile(r"\\(?:sum|prod)\s*_\s*(?:\{[^{}]*\}|.)\s*\^\s*(?P<bound>\d+|\{(?:[^{}]|\{[^{}]*\})*\})")


def too_costly(answer: str) -> str:
    """Why an answer in normal notation is not evaluated; "" if it may be."""
    if len(answer) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    if bracket_depth(answer) > MAX_DEPTH:
        return f"brackets nested deeper than {MAX_DEPTH}"
    if re.search(rf"\d{{{MAX_DIGITS + 1}}}", answer):
        return f"a number of more than {MAX_DIGITS} digits"
    if re.search(r"!\s*[)}]*\s*!", answer) or any(magnitude(n) > MAX_FACTORIAL for n in factorials(answer)):
        return f"a factorial of a factorial or of more than {MAX_FACTORIAL}"
    if any(magnitude(n) > MAX_BINOMIAL for n in binomials(answer)):
        return f"a binomial coefficient of more than {MAX_BINOMIAL}"
    if any(size > MAX_EXPONENT for size in exponent_sizes(answer)):
        return f"a power with an exponent above {MAX_EXPONENT}"
    if any(magnitude(upper["bound"].strip("{}")) > MAX_TERMS for upper in UPPER_BOUND.finditer(answer)):
        return f"a sum or product of more than {MAX_TERMS} terms"
    return ""


def factorials(answer: str) -> list[str]:
    """What stands before each "!": a number or a group in brackets."""
    found = []
    for mark in re.finditer(r"(?<!\\)!", answer):
        before = answer[: mark.start()].rstrip()
        found.append(
            before[group_start(before) :] if before[-1:] in CLOSING else (re.findall(r"\d+$", before) or [""])[0]
        )
    return found


def binomials(answer: str) -> list[str]:
    r"""The upper argument of each \binom{n}{k}, with braces or without."""
    return [
        answer[match.end() :][: group_end(answer[match.end() :]) + 1]
        if answer[match.end() :].startswith("{")
        else answer[match.end()]
        for match in re.finditer(r"\\[dt]?binom\s*(?=\S)", answer)
    ]


def group_start(text: str) -> int:
    """Where the bracket opens that the text ends with; 0 if nowhere."""
    depth = 0
    for position in range(len(text) - 1, -1, -1):
        depth += (text[position] in CLOSING) - (text[position] in BRACES)
        if depth == 0:
            return position
    return 0


def bracket_depth(answer: str) -> int:
    """The deepest nesting of brackets, closed or not."""
    depth = deepest = 0
    for char in answer:
        depth = max(0, depth + (char in BRACES) - (char in CLOSING))
        deepest = max(deepest, depth)
    return deepest


def exponent_sizes(answer: str) -> list[float]:
    """How large each exponent is that holds no letter, roughly; the exponent of a tower counts with its own power."""
    return [magnitude(group) for group in exponents(answer)]


def exponents(answer: str) -> list[str]:
    """What stands behind each "^": a group in brackets, a number or one character, with the exponent that it has itself (9^9^9)."""
    found = []
    for caret in re.finditer(r"\^\s*", answer):
        rest = answer[caret.end() :]
        end = operand_end(rest)
        while (next_caret := re.match(r"\s*\^\s*", rest[end:])) and end < len(rest):
            end += next_caret.end() + operand_end(rest[end + next_caret.end() :])
        found.append(rest[1 : end - 1] if rest[:1] in BRACES and group_end(rest) == end - 1 else rest[:end])
    return found


def operand_end(text: str) -> int:
    """Where the group, number or character ends that a text begins with."""
    if text[:1] in BRACES:
        return group_end(text) + 1
    number = re.match(r"-?\d+|.", text, re.DOTALL)
    return number.end() if number else 0


def group_end(text: str) -> int:
    """Where the bracket that opens the text is closed, or the text's end."""
    depth = 0
    for position, char in enumerate(text):
        depth += (char in BRACES) - (char in CLOSING)
        if depth == 0:
            return position
    return len(text)


def magnitude(expression: str) -> float:
    """An upper bound of the integers in an expression and of their powers. A numerator counts although it is divided: 4^{10^{23}/10^{12}}
    is just as large, and where it is a small root sympy still factors the number."""
    numbers = [float(n) if len(n) < 300 else float("inf") for n in re.findall(r"\d+", expression)]
    if not numbers:
        return 0.0
    largest = max(numbers)
    powers = [magnitude(power) for power in exponents(expression)]
    if not powers:
        return largest
    try:
        return float(max(largest, 2.0)) ** max(powers)
    except OverflowError:
        return float("inf")
