r"""What a text commits to as its answer: \boxed{...}, "the final answer is ...", "Answer: ...", "#### ...". The last one counts, and what
a reasoning model thought before "</think>" does not.
"""

import re

ANNOUNCED = re.compile(r"(?i:final\s+answer(?:\s+is)?|answer\s+is)\s*[:=]?|(?i:\banswer)\s*[:=]|####")
DECORATION = re.compile(r"^[\s*_`:]+|[\s*_`]+$")
HOPE = re.compile(r"\.?\s*I hope it is correct\.?$")
"""The end of the sentence that the MATH prompt asks for."""
OTHER_BOX = re.compile(r"\\(?:fbox|framebox)\s*\{|\\boxed\s+\{")
OPENS_DISPLAY = ("$$", "\\[", "\\begin{")
"""Mathematics that goes on in the next lines."""


def final_answer(text: str) -> str:
    r"""The last \boxed{...}, else the last announced answer, else the last line that is not blank; "" of a blank text."""
    text = answering_part(text)
    return last_boxed(text) or announced_answer(text) or last_line(text)


def answering_part(text: str) -> str:
    r"""The text after the last "</think>", all of it if there is none, with every kind of box as \boxed."""
    return OTHER_BOX.sub(r"\\boxed{", text.rpartition("</think>")[2])


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


def announced_answer(text: str) -> str:
    """What follows the last announcement, up to the end of that line or of the next that is not blank; "" if there is none.

    Display mathematics is taken to the end of the text. Emphasis around the answer, a closing full stop and "I hope it is correct" are
    left out.
    """
    announcements = list(ANNOUNCED.finditer(text))
    if not announcements:
        return ""
    rest = DECORATION.sub("", text[announcements[-1].end() :])
    answer = " ".join(rest.split()) if rest.startswith(OPENS_DISPLAY) else rest.partition("\n")[0]
    return DECORATION.sub("", HOPE.sub("", DECORATION.sub("", answer)).removesuffix("."))


def last_line(text: str) -> str:
    """The last line that is not blank."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def normalised(answer: str) -> str:
    """Lower case, single spaces, without dollar signs and a closing full stop."""
    return re.sub(r"\s+", " ", answer.replace("$", "")).strip().removesuffix(".").casefold()
