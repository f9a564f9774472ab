"""Multiple choice: which letter does a text choose?"""

import re

from pipelines.problems.problem import Problem
from pipelines.verifiers.final_answer import answering_part, last_boxed, last_line
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict

LETTER = r"[\s*_`$(]*(?:\\boxed\{|\\text\{|\\mathrm\{)*\s*\(?([A-J])(?![A-Za-z0-9'])"
"""One letter, however it is set off."""
ANSWER_LETTER = re.compile(rf"(?i:answer)\s*(?i:is)?\s*[:=]?{LETTER}")
LONE_LETTER = re.compile(rf"{LETTER}[\s*_`$)}}.]*")


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
