r"""Multiple choice: which letter does a text choose?

    Answer: C        **Answer**: C        Answer: Option C        Answer: "C"        Answer: I think it is C        <answer>C</answer>
    the correct option is (C)        \boxed{\textbf{C}}        C. Paris

The last announcement that holds a letter counts, and of that sentence the first letter: in "Answer: C. The answer A is wrong since ..." the
second sentence names a letter that is not chosen. Without an announcement it is the last box, else the last line if it is a letter.
"""

import re

from pipelines.problems.problem import Problem
from pipelines.verifiers.final_answer import answering_part, find_boxes, last_line, without_markup
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict

ANNOUNCEMENT = re.compile(
    r"(?P<colon>\b(?:final\s+|correct\s+|best\s+)?(?:answer|choice|option)[\s*_`]*[:=：]|答案\s*(?:是|为|：|:))"
    r"|\b(?:answer|(?:correct|right|best|final)\s+(?:choice|option|letter))\s+(?:is|would be|should be|must be)\b\s*:?"
    r"|\bI(?:\s+would)?\s+(?:choose|pick|select|go with)\b|答案选",
    re.IGNORECASE,
)
"""Where a text says what it chooses. One with a colon is a form that prompts ask for, and wins over those in running text."""
LETTER = re.compile(r"(?<![A-Za-z0-9'’\\])\(?(?P<letter>[A-J])\)?(?![A-Za-z0-9'’_^])")
"""A letter by itself."""
WORD_NOT_LETTER = re.compile(
    r"A\s+(?!(?:or|and|is|because|since|as|which|with|for|due|based|not)\b)(?=[a-z])|I\s+(?=[a-z])|I['’]"
)
"""The article, and the pronoun of "I think it is C"."""
DENIED = re.compile(
    r"\b(?:not|neither|nor|rather than|instead of|isn't|n't)\s+(?:option\s+|choice\s+|\()?$", re.IGNORECASE
)
REJECTED = re.compile(
    r"\s*(?:is|are|was|would be|must be)\s+(?:wrong|incorrect|false|not|ruled out|eliminated)\b", re.IGNORECASE
)
ALSO_CHOSEN = re.compile(
    r"\s*(?:,|/|&|\bor\b|\band\b|\bor\s+option\b|\band\s+option\b)+\s*\(?(?P<letter>[A-J])\)?(?![A-Za-z0-9'’])"
)
SENTENCE_END = re.compile(r"(?<=[a-z0-9)])[.!?](?=\s|$)|(?<=[A-J])\.\s+(?=[A-Z][a-z]+\s)")


def verify_choice(text: str, problem: Problem) -> Verdict:
    """The letter chosen equals the reference. Two letters at once ("A or B") are no answer, and so is a letter in mid-sentence."""
    reference = without_markup(problem.answer).strip("()").upper()
    letter = chosen(answering_part(text))
    if not letter:
        return plain_verdict(VerdictStatus.NO_ANSWER, detail='no letter after "Answer:", in a box or on the last line')
    return plain_verdict(VerdictStatus.CORRECT if letter == reference else VerdictStatus.WRONG, letter)


def chosen(text: str) -> str:
    """The letter that a text without its thoughts chooses; "A, B" of one that chooses two, "" if it chooses none."""
    boxes = find_boxes(text)
    marked = [(box.start, box.content if box.is_closed else "") for box in boxes]
    announced = [
        (match.end(), bool(match["colon"]), first_sentence(text[match.end() :])) for match in announcements(text)
    ]
    for is_colon in (True, False):
        for start, has_colon, sentence in reversed(announced):
            # A box after "the answer is" is read as the announced letter: markup is dropped below.
            if has_colon is is_colon and (letter := letters_of(sentence)) and not is_rejected(text, start, sentence):
                return letter
        if is_colon and marked:
            return lone_letter(marked[-1][1])
    return lone_letter(last_line(text)) or lone_letter(text)


def announcements(text: str) -> list[re.Match[str]]:
    """Every place where a text says what it chooses, in order."""
    return list(ANNOUNCEMENT.finditer(text))


def first_sentence(text: str) -> str:
    """Plain words up to the end of the sentence, or of the next line that is not blank."""
    line = text.lstrip(" \t\r\n*_`:：").partition("\n")[0]
    return SENTENCE_END.split(plain(line), maxsplit=1)[0]


def plain(text: str) -> str:
    r"""No boxes, \text, Markdown, dollars and quotes."""
    text = re.sub(r"\\boxed\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", r" \1 ", text)
    return re.sub(r"[\"'“”‘’]\s*(\(?[A-J]\)?[.):]?)\s*[\"'“”‘’]", r" \1 ", without_markup(text)).strip(" .:：,;{}")


def letters_of(sentence: str) -> str:
    """The first letter of a sentence that is not denied, with one that is chosen along with it."""
    for match in LETTER.finditer(sentence):
        rest = sentence[match.end() :]
        if (
            WORD_NOT_LETTER.match(sentence[match.start() :])
            or DENIED.search(sentence[: match.start()])
            or REJECTED.match(rest)
        ):
            continue
        also = ALSO_CHOSEN.match(rest)
        return f"{match['letter']}, {also['letter']}" if also and also["letter"] != match["letter"] else match["letter"]
    return ""


def is_rejected(text: str, start: int, sentence: str) -> bool:
    """ "The answer A is wrong"; "I would not choose C"."""
    before = text[max(0, start - 40) : start]
    return bool(re.search(r"\b(?:not|n't)\s+(?:choose|pick|select|go with)$", before, re.IGNORECASE))


def lone_letter(line: str) -> str:
    """The letter that is a whole line, alone or before what it stands for: "(C)", "C.", "C. Paris", "Option C"."""
    line = re.sub(r"^(?:option|choice|answer)\s+", "", plain(line), flags=re.IGNORECASE)
    match = re.fullmatch(r"\(?([A-J])\)?(?:\s*[.):]\s*\S.*)?", line, re.DOTALL) or re.fullmatch(
        r"\(([A-J])\)\s+\S.*", line, re.DOTALL
    )
    return match[1] if match else ""
