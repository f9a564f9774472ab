r"""Which part of a text is its answer, in mathematics: the last box, else what is announced, else the last formula or number.

A text that commits to none, or to two that differ, has no answer that could be right. So the last box counts even if it is empty or not
closed (an earlier one was given up), "70 or 71" is the pair, and a refusal is not searched for numbers.
"""

import itertools
import re
from dataclasses import dataclass

from pipelines.verifiers.final_answer import Box, announced_answer, answering_part, find_boxes

MATH_SEGMENT = re.compile(
    r"(?<!\\)\$\$(?P<a>.+?)(?<!\\)\$\$|\\\[(?P<b>.+?)\\\]|\\\((?P<c>.+?)\\\)|(?<![\\\w])\$(?P<d>[^$\n]+?)(?<!\\)\$(?!\d)",
    re.DOTALL,
)
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.\\^{])[-−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s?/\s?\d+)?(?:[eE][-+]?\d+)?\s?(?:\\?%|percent\b)?(?![\d^_])"
)
CURRENCY = r"(?:\\?\$|€|£|¥|₹|Rs\.?|USD|US\$|EUR)\s*"
LEADING_NUMBER = re.compile(rf"(?:{CURRENCY})?\s*(?P<number>{NUMBER.pattern})(?P<rest>.*)", re.DOTALL)
MORE_ANSWERS = re.compile(
    r"\s*(?:(?:,\s*)?(?:or|and)|,|to|through|±|[-–+*/^=])\s*(?:maybe|perhaps|possibly|else)?\s*[-−$\\(]*\d",
    re.IGNORECASE,
)
"""What follows a number that is not the whole answer."""
REFUSAL = re.compile(
    r"\bI(?:'m| am) sorry\b|\b(?:can(?:no|')t|cannot|can not|unable to|not able to)\b.{0,40}\b(?:answer|help|assist|solve|determine|do)\b",
    re.IGNORECASE,
)
ALTERNATIVE = re.compile(r"[\s$,.;\\()]*(?:\b(?:and|or)\b[^.!?\n]{0,30}|,[\s$]*)?[\s$\\()]*")
"""Between two boxes that are one answer together: "and", ", or it could be"; a full stop in between starts anew."""


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """What a text commits to."""

    readings: tuple[str, ...] = ()
    """It may be read in these ways, the likeliest first: "18 dollars per day" is a formula or a number with words."""
    is_cut: bool = False
    """The text ends inside the answer: what is there is shown and not compared."""


def find_answer(text: str) -> FoundAnswer:
    """The answer of a text; without readings if it commits to none."""
    text = answering_part(text)
    if boxes := find_boxes(text):
        return boxed(text, boxes)
    if announced := announced_answer(text):
        readings = announced_readings(announced)
        if readings or REFUSAL.search(announced):
            return FoundAnswer(readings)
    return FoundAnswer(unannounced_readings(text))


def boxed(text: str, boxes: list[Box]) -> FoundAnswer:
    """The last box, with those before it that it is listed with."""
    last = boxes[-1]
    if not last.is_closed:
        # The end of the text may be the token limit in mid-number; with words after it the brace was only forgotten.
        return FoundAnswer((last.content,), is_cut=not text[last.end :].strip())
    if not last.content:
        return FoundAnswer()
    listed = [last]
    for box in reversed(boxes[:-1]):
        gap = text[box.end : listed[0].start]
        if not box.is_closed or not ("and" in gap or "or" in gap or "," in gap) or not ALTERNATIVE.fullmatch(gap):
            break
        listed.insert(0, box)
    contents = list(dict.fromkeys(box.content for box in listed))
    return FoundAnswer((", ".join(contents),)) if len(contents) > 1 else FoundAnswer(box_readings(last.content))


def box_readings(content: str) -> tuple[str, ...]:
    r"""A box may hold a sentence: \boxed{\text{The answer is } 13}."""
    plain = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", content)
    announced = announced_answer(plain)
    return announced_readings(announced) if announced else (content,)


def announced_readings(announced: str) -> tuple[str, ...]:
    """What is announced as a formula, and as the number that it begins with ("72 because 3 are left")."""
    if re.match(r"(?:\*\*)?(?i:not|neither)\b", announced):
        return ()
    if segments := joined_segments(announced):
        return (announced, segments) if is_mostly_mathematics(announced) else (segments,)
    readings = [announced]
    leading = LEADING_NUMBER.match(announced)
    if leading and leading["rest"].strip() and not MORE_ANSWERS.match(leading["rest"]):
        readings.append(leading["number"])
    if leading_word := re.match(r"([A-Za-z]{2,})[,.;:]\s", announced.replace("*", "")):
        readings.append(f"\\text{{{leading_word[1]}}}")
    if not re.search(r"\d", announced) and len(announced.split()) > 8:
        return tuple(readings[1:])
    last_number = NUMBER.findall(announced.rpartition("=")[2]) if "=" in announced else []
    return tuple(dict.fromkeys(readings + last_number[:1]))


def is_mostly_mathematics(announced: str) -> bool:
    """Few words besides the formulas."""
    return len(re.findall(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}", MATH_SEGMENT.sub(" ", announced))) <= 2


def joined_segments(text: str, *, last: bool = False) -> str:
    """The first formula of a text, or the last one, with those that "and", "or" or a comma join to it; "" if there is none."""
    matches = list(MATH_SEGMENT.finditer(text))
    if not matches:
        return ""
    groups = [[matches[0]]]
    for before, match in itertools.pairwise(matches):
        if re.fullmatch(r"\s*(?:,|,?\s*(?:and|or))\s*", text[before.end() : match.start()]):
            groups[-1].append(match)
        else:
            groups.append([match])
    chosen = groups[-1 if last else 0]
    return ", ".join(next(part for part in match.groups() if part).strip() for match in chosen)


def unannounced_readings(text: str) -> tuple[str, ...]:
    """The last formula or number of a text that announces nothing, whichever comes later; bold ones of the last paragraph first."""
    paragraph = next(
        (part for part in reversed(text.split("\n\n")) if NUMBER.search(part) or MATH_SEGMENT.search(part)), ""
    )
    if not paragraph or REFUSAL.search(paragraph):
        return ()
    for bold in reversed(re.findall(r"\*\*([^*\n]+)\*\*", paragraph)):
        if NUMBER.search(bold) or MATH_SEGMENT.search(bold):
            return announced_readings(bold.rstrip(" .:"))
    segments = list(MATH_SEGMENT.finditer(paragraph))
    outside = [
        match for match in NUMBER.finditer(paragraph) if not any(s.start() <= match.start() < s.end() for s in segments)
    ]
    if segments and (not outside or outside[-1].start() < segments[-1].start()):
        return (last_formula(joined_segments(paragraph, last=True)),)
    number = outside[-1]
    before = paragraph[: number.start()].rstrip(" $*")
    if previous := re.search(rf"(?:{NUMBER.pattern})\s*(?:,\s*)?or$", before):
        return (f"{previous[0]} {number[0]}",)
    if re.search(r"(?:\\neq?|≠|\bnot)$", before):
        return ()
    return (number[0],)


def last_formula(segment: str) -> str:
    """The last line of display mathematics; a matrix has lines of its own."""
    return segment if "\\begin" in segment else segment.rpartition("\\\\")[2].strip() or segment
