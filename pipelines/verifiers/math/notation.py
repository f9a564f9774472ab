r"""One notation for the many ways to write the same answer, before a parser sees it: LaTeX without decoration, ASCII but for letters.

    ½  ->  \frac{1}{2}        3.2e-4  ->  3.2\times10^{-4}      1\,234\,567  ->  1234567       0.\overline{27}  ->  \frac{27}{99}

Each rewriting is a function of its own, named by what it reads; `normalised` applies them in order. None changes the value.
"""

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction

VULGAR = {
    "½": (1, 2),
    "⅓": (1, 3),
    "⅔": (2, 3),
    "¼": (1, 4),
    "¾": (3, 4),
    "⅕": (1, 5),
    "⅖": (2, 5),
    "⅗": (3, 5),
    "⅘": (4, 5),
}
VULGAR |= {"⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8)}
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
SYMBOLS = {
    "−": "-", "–": "-", "﹣": "-", "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∗": "*", "÷": r"\div ", "∕": "/", "⁄": "/",
    "±": r"\pm ", "∞": r"\infty ", "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "≤": r"\le ",
    "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\neq ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "∅": r"\emptyset ", "°": r"^\circ ", "。": ".", "、": ",", "…": r"\ldots ", "“": '"', "”": '"', "∨": r"\lor ", "∧": r"\land ",
}  # fmt: skip
INVISIBLE = re.compile("[\u200b-\u200f\u2060-\u2064\ufeff]")

SPACE = r"(?:\\[,;:!> ]|~|\\(?:quad|qquad|thinspace)\b|\s)"
"""A space, however it is written in LaTeX."""
MATH_DELIMITERS = re.compile(r"(?<!\\)\$|\\[()\[\]]")
SIZES = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|tiny|small|normalsize|large|Large|LARGE|huge|Huge|bf|rm|it"
    r"|limits|nolimits|boldmath|centering)(?![a-zA-Z])"
)
COLOURS = re.compile(
    r"\\color\s*(?:\[[^]]*\])?\s*\{[^{}]*\}|\\color\s+[a-z]+|\\(?:textcolor|colorbox)\s*(?:\[[^]]*\])?\s*\{[^{}]*\}"
)
FONTS = re.compile(
    r"\\(?:mathbf|boldsymbol|bm|mathit|mathsf|mathnormal|pmb|underline|overbrace|underbrace|ensuremath|mathtt)\s*(?=\{)"
)
WORDS_MACRO = re.compile(
    r"\\(?:textbf|textit|textrm|textsf|texttt|textnormal|emph|mbox|hbox|mathrm|operatorname\*?)\s*(?=\{)"
)
LETTER_IN_TEXT = re.compile(
    r"\\text\s*\{\s*\(?([ei]|-?\d+(?:\.\d+)?)\)?\s*\}|(?<![\d}\s,;!~])\\text\s*\{\s*([A-Za-z])\s*\}"
)
"""Not a letter behind a number: that is a unit."""
CURRENCY = r"(?:\\?\$|\\text\s*\{\s*(?:\\?\$|Rs\.?|USD)\s*\}|[€£¥₹]|(?:Rs|USD|EUR|INR)\b\.?)"
RENAMED = {
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\varnothing": r"\emptyset",
    r"\leqslant": r"\le",
    r"\geqslant": r"\ge",
    r"\not=": r"\neq ",
    r"\not =": r"\neq ",
    r"\dots": r"\ldots",
    r"\vee": r"\lor",
    r"\wedge": r"\land",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\imath": "i",
    r"\langle": "(",
    r"\rangle": ")",
    r"\degree": r"^\circ",
}
QUALIFIERS = r"(?:\\approx|\\simeq|\\sim\b|\\therefore|(?i:approximately|about|roughly|exactly)\b)"


def normalised(answer: str) -> str:
    """An answer in one notation. What only decorates is gone: math delimiters, sizes, colours, fonts, a closing full stop."""
    for step in STEPS:
        answer = step(answer)
    return answer.strip()


def ascii_symbols(answer: str) -> str:
    """Unicode mathematics as LaTeX: ½, x², √7, −, ∞, ４２."""
    answer = INVISIBLE.sub("", answer).replace("\xa0", " ").replace("\u202f", " ").replace("\u2009", r"\,")
    for sign, (numerator, denominator) in VULGAR.items():
        answer = answer.replace(sign, rf"\frac{{{numerator}}}{{{denominator}}}")
    answer = re.sub(
        f"[{''.join(SUPERSCRIPTS)}]+", lambda run: "^{" + "".join(SUPERSCRIPTS[c] for c in run[0]) + "}", answer
    )
    answer = re.sub(
        f"[{''.join(SUBSCRIPTS)}]+", lambda run: "_{" + "".join(SUBSCRIPTS[c] for c in run[0]) + "}", answer
    )
    answer = re.sub(
        r"√\s*\(([^()]*)\)|√\s*(\d+(?:\.\d+)?|[a-zA-Z])", lambda root: rf"\sqrt{{{root[1] or root[2]}}}", answer
    )
    answer = answer.replace("√", r"\sqrt")
    for sign, latex in SYMBOLS.items():
        answer = answer.replace(sign, latex)
    # Last: NFKC would turn ½ into 1⁄2 and x² into x2.
    return unicodedata.normalize("NFKC", answer)


def without_decoration(answer: str) -> str:
    """No math delimiters, sizes, colours or fonts; upright words as \\text, an upright letter as itself."""
    answer = MATH_DELIMITERS.sub(" ", answer).replace("**", "**" if re.search(r"\w\*\*\w", answer) else "")
    answer = COLOURS.sub("", SIZES.sub("", answer))
    answer = WORDS_MACRO.sub(r"\\text", FONTS.sub("", answer))
    answer = LETTER_IN_TEXT.sub(lambda text: text[1] or text[2], answer)
    for old, new in RENAMED.items():
        answer = re.sub(re.escape(old) + (r"(?![a-zA-Z])" if old[-1].isalpha() else ""), lambda _, new=new: new, answer)  # type: ignore[misc]
    while (inner := re.fullmatch(r"\s*\{((?:[^{}]|\{[^{}]*\})*)\}\s*", answer)) and "," not in inner[1]:
        answer = inner[1]
    return answer


def without_ends(answer: str) -> str:
    r"""No "=", currency or "\approx" in front, no full stop or "th" behind; an open interval as ]3,7[ is (3,7)."""
    answer = re.sub(
        rf"^(?:{SPACE}|{CURRENCY}|=|:|{QUALIFIERS})+",
        "",
        answer,
    )
    answer = re.sub(rf"^-{CURRENCY}", "-", answer)
    answer = re.sub(r"^\](.+,.+)\[$", r"(\1)", answer.strip())
    answer = re.sub(
        r"(?<=\d)\s*(?:\^\s*\{?\s*)?(?:\\text\s*\{\s*(?:st|nd|rd|th)\s*\}|(?:st|nd|rd|th)\b)\s*\}?", "", answer
    )
    answer = re.sub(rf"(?:{SPACE}|[€£₹]|[;。]|(?<!\.)\.|,|\\\\|\\\.)+$", "", answer.strip())
    return answer


def repeating_decimals(answer: str) -> str:
    r"""0.\overline{27}, 0.2\dot{7}, 0.(3) and 0.333\ldots as fractions."""

    def as_fraction(match: re.Match[str]) -> str:
        whole, fixed, cycle = match["whole"] or "0", match["fixed"] or "", re.sub(r"\D", "", match["cycle"])
        value = int(whole) + Fraction(int(fixed or "0"), 10 ** len(fixed))
        value += Fraction(int(cycle), (10 ** len(cycle) - 1) * 10 ** len(fixed))
        return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"

    number = r"(?<![\d.])(?P<whole>\d*)\.(?P<fixed>\d*?)"
    answer = re.sub(number + r"\\(?:overline|bar)\s*(?P<cycle>\{\d+\}|\d)", as_fraction, answer)
    answer = re.sub(number + r"(?P<cycle>\\dot\s*\{?\d\}?(?:\d*\\dot\s*\{?\d\}?)?)", as_fraction, answer)
    answer = re.sub(number + r"\((?P<cycle>\d+)\)", as_fraction, answer)
    # Three times the same digit, or twice the same digits, and dots.
    dots = r"(?:\\[lc]?dots(?:\s*\{\})?|\.\.\.+)"
    answer = re.sub(
        number + rf"(?P<cycle>(\d)\4{{2,}})\s*{dots}", lambda m: as_fraction_of_run(m, as_fraction, 1), answer
    )
    return re.sub(
        number + rf"(?P<cycle>(\d{{2,6}})\4+)\s*{dots}", lambda m: as_fraction_of_run(m, as_fraction, len(m[4])), answer
    )


def as_fraction_of_run(match: re.Match[str], as_fraction: Callable[[re.Match[str]], str], period: int) -> str:
    """A run of digits that repeats with this period, as the fraction of its first cycle."""
    digits = f"{match['whole'] or '0'}.{match['fixed']}\\overline{{{match['cycle'][:period]}}}"
    again = re.fullmatch(r"(?P<whole>\d*)\.(?P<fixed>\d*?)\\overline\{(?P<cycle>\d+)\}", digits)
    assert again is not None, digits
    return as_fraction(again)


def one_number(answer: str) -> str:
    r"""Separators of thousands (1\,234\,567; 1{,}234; 12,\!345; 12.345,6) and scientific notation (3.2e-4)."""
    gap = r"(?:\\,|(?<=\d)'(?=\d)|\\!|\\ |\\;|\\:|\{,\}|\{\\,\}|,\\!|\\thinspace\s?|(?<=\d) (?=\d{3}))"
    answer = re.sub(rf"(?<![\d.])\d{{1,3}}(?:{gap}\d{{3}})+(?!\d)", lambda number: re.sub(r"\D", "", number[0]), answer)
    # Dots between thousands and a decimal comma, as on the continent; both must be there, since 12.345 is also a decimal.
    answer = re.sub(
        r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+),(\d+)(?![\d.,])", lambda n: n[1].replace(".", "") + "." + n[2], answer
    )
    answer = re.sub(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(\.\d+)(?![\d,])", lambda n: n[1].replace(",", "") + n[2], answer)
    answer = re.sub(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", r"\\times ", answer)
    return re.sub(r"(?<![\w\\.])(\d+(?:\.\d*)?|\.\d+)[eE]([-+]?\d+)(?![\d.A-Za-z])", scientific, answer)


def scientific(match: re.Match[str]) -> str:
    """3.2e-4 as LaTeX."""
    return rf"{match[1].rstrip('.')}\times10^{{{int(match[2])}}}"


def plain_operators(answer: str) -> str:
    r"""What calculators and programs write: x**2, 2*pi, sqrt(7), pi, 2^10."""
    answer = re.sub(r"(?<=[\w)}\]])\s*\*\*\s*(?=[\w({\\-])", "^", answer)
    answer = re.sub(r"\s*\*\s*", r"\\cdot ", answer)
    answer = re.sub(r"(?<![\\a-zA-Z])(?:math\.|np\.)?sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", answer)
    answer = re.sub(r"(?<![\\a-zA-Z])(?:math\.|np\.)?(pi|infty|sin|cos|tan|ln|log)(?![a-zA-Z])", r"\\\1 ", answer)
    answer = re.sub(r"\^\s*\(([^()]+)\)", r"^{\1}", answer)
    return re.sub(r"\^\s*(-?\d{2,}|-\d)", r"^{\1}", answer)


def mixed_numbers(answer: str) -> str:
    r"""2 3/4 as LaTeX, and 2\frac34 without a space or "and" between."""
    answer = re.sub(r"(?<![\d./^_])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d./])", r"\1\\frac{\2}{\3}", answer)
    return re.sub(rf"(?<![\d.])(\d+){SPACE}+(?=\\frac\{{?\d)", r"\1", answer)


def systems(answer: str) -> str:
    r"""\begin{cases} x=3 \\ y=-2 \end{cases} as "x=3, y=-2"; so are lines of aligned equations."""
    match = re.search(
        r"\\begin\{(cases|aligned|array|gathered|align\*?)\}(?:\{[lcr|]*\})?(.*?)\\end\{\1\}", answer, re.DOTALL
    )
    if match is None or (match[1] == "array" and "=" not in match[2]):
        return answer
    lines = [line.replace("&", "").strip(" ,.;\n") for line in match[2].split(r"\\")]
    inside = ", ".join(line for line in lines if line)
    return answer[: match.start()].rstrip(r"\{ ") + inside + answer[match.end() :]


def connectives(answer: str) -> str:
    r"""\text{ or }, \text{ and }, ", and" as commas between parts, so that "70 or 71" is two numbers. Relations keep their words
    (compare.py reads them)."""
    answer = re.sub(r"\\text\s*\{\s*,?\s*(or|and)\s*\}", r" \1 ", answer)
    answer = re.sub(r"\\(lor|land)(?![a-zA-Z])", lambda m: " or " if m[1] == "lor" else " and ", answer)
    if re.search(r"[<>]|\\(?:le|ge|leq|geq|lt|gt|neq|ne|in)(?![a-z])", answer):
        return answer
    return (
        re.sub(r"\s*,?\s*(?<![A-Za-z])(?:or|and)(?![A-Za-z])\s*", ", ", answer)
        if re.search(r"\d|[a-z]\s*=", answer)
        else answer
    )


def without_redundant_brackets(answer: str) -> str:
    """((x)) as (x) and {{x}} as {x}: the parser's time is exponential in their depth."""
    opened: list[int] = []
    pairs: dict[int, int] = {}
    for position, char in enumerate(answer):
        if char in "({":
            opened.append(position)
        elif char in ")}" and opened:
            pairs[opened.pop()] = position
    drop = {
        bracket
        for start, end in pairs.items()
        if pairs.get(start + 1) == end - 1 and answer[start] == answer[start + 1] and answer[end - 1] == answer[end]
        for bracket in (start, end)
    }
    return "".join(char for position, char in enumerate(answer) if position not in drop)


STEPS: tuple[Callable[[str], str], ...] = (
    ascii_symbols,
    without_redundant_brackets,
    systems,
    one_number,
    without_decoration,
    without_ends,
    repeating_decimals,
    plain_operators,
    mixed_numbers,
    connectives,
)
