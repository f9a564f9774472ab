r"""What a text commits to as its answer: \boxed{...}, "the final answer is ...", "Answer: ...", "#### ...", <answer>...</answer>. The last
one counts, and what a reasoning model thought before "</think>" does not.
"""

import re
from dataclasses import dataclass

ANNOUNCED = re.compile(
    r"(?i:final\s+answer(?:\s+is)?|answer\s+is)\s*[:=：]?|(?i:\banswer)[\s*_]*[:=：]|####|答案\s*(?:是|为|：|:)?"
)
DECORATION = re.compile(r"^[\s*_`:：]+|[\s*_`]+$")
HOPE = re.compile(r"\.?\s*I hope it is correct\.?$")
"""The end of the sentence that the MATH prompt asks for."""
OTHER_BOX = re.compile(r"\\(?:fbox|framebox)\s*\{|\\boxed\s+\{")
BARE_BOX = re.compile(r"\\boxed\s*(-?\d+(?:\.\d+)?|[A-Za-z])(?![A-Za-z])")
"""TeX boxes the next token: \\boxed 5."""
OPENS_DISPLAY = ("$$", "\\[", "\\begin{")
"""Mathematics that goes on in the next lines."""

THOUGHT = r"(?:think|thinking|thought|reasoning|scratchpad)"
THOUGHT_OPENS = re.compile(rf"<{THOUGHT}>|<\|begin_of_thought\|>", re.IGNORECASE)
THOUGHT_CLOSES = re.compile(rf"</{THOUGHT}>|<\|end_of_thought\|>", re.IGNORECASE)
ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.IGNORECASE | re.DOTALL)
SPECIAL_TOKENS = re.compile(r"<\|(?:im_end|endoftext|eot_id|end_of_text|end)\|>|</s>|<end_of_turn>")
"""A reply ends at the first: what follows belongs to no reply."""

MARKUP = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mathrm|mathbf|mbox|emph|operatorname)\s*\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Box:
    r"""One \boxed{...} of a text."""

    content: str
    start: int
    end: int
    """After its closing brace, or the end of the line where there is none."""
    is_closed: bool


def final_answer(text: str) -> str:
    r"""The last \boxed{...}, else the last announced answer, else the last line that is not blank; "" of a blank text."""
    text = answering_part(text)
    if boxes := find_boxes(text):
        return boxes[-1].content if boxes[-1].is_closed else ""
    return announced_answer(text) or last_line(text)


def answering_part(text: str) -> str:
    r"""The text after the last thought, all of it if there is none, with every kind of box as \boxed. A thought that is not closed is no
    answer. Where an <answer> tag follows, what the last one holds is all that counts."""
    text = SPECIAL_TOKENS.split(text, maxsplit=1)[0]
    closing = [match.end() for match in THOUGHT_CLOSES.finditer(text)]
    text = text[closing[-1] :] if closing else text
    opening = THOUGHT_OPENS.search(text)
    text = text[: opening.start()] if opening else text
    tags = ANSWER_TAG.findall(text)
    return BARE_BOX.sub(r"\\boxed{\1}", OTHER_BOX.sub(r"\\boxed{", tags[-1] if tags else text))


def find_boxes(text: str) -> list[Box]:
    r"""Every \boxed{...} that is in no other box, in order. A box that is not closed is read to the end of its line."""
    boxes: list[Box] = []
    for match in re.finditer(r"\\boxed\{", text):
        if boxes and match.start() < boxes[-1].end:
            continue
        depth, end = 1, match.end()
        while end < len(text) and depth:
            # An escaped brace is a character of the answer: \{1, 2\}.
            is_escaped = text[end - 1] == "\\" and text[end - 2 : end] != "\\\\"
            depth += 0 if is_escaped else {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if depth == 0:
            boxes.append(Box(text[match.end() : end - 1].strip(), match.start(), end, is_closed=True))
        else:
            line = text[match.end() :].partition("\n")[0]
            boxes.append(Box(line.strip(" $"), match.start(), match.end() + len(line), is_closed=False))
    return [unwrapped(box) for box in boxes]


def unwrapped(box: Box) -> Box:
    r"""\boxed{\boxed{12}} is \boxed{12}."""
    inner = re.fullmatch(r"\\boxed\{(.*)\}", box.content, re.DOTALL)
    return Box(inner[1], box.start, box.end, box.is_closed) if inner else box


def last_boxed(text: str) -> str:
    r"""What the last \boxed{...} holds, nested braces included; "" if there is none or it is not closed."""
    boxes = find_boxes(text)
    return boxes[-1].content if boxes and boxes[-1].is_closed else ""


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


def without_markup(answer: str) -> str:
    r"""No \text{...} and its like, no Markdown emphasis, code marks, dollar signs, outer quotes and closing full stop."""
    while (plain := MARKUP.sub(r"\1", answer)) != answer:
        answer = plain
    answer = re.sub(r"\\[()\[\]]|(?<!\\)\$|\*\*|__|`", " ", answer)
    answer = (
        re.sub(r"^\s*[*_]+(?=\S)|(?<=\S)[*_]+\s*$", "", answer).strip().removesuffix(".").removesuffix("。").strip()
    )
    return re.sub(r"^([\"'“‘])(.*)[\"'”’]$", r"\2", answer, flags=re.DOTALL).removesuffix(".").strip()


def normalised(answer: str) -> str:
    """Lower case, single spaces, without markup."""
    return re.sub(r"\s+", " ", without_markup(answer)).strip().casefold()
