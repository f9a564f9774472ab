"""The program in what a model wrote, and the rule that found it.

A reply is cleaned and cut at its fences (reply_segments.py); the first shape that it has (reply_shapes.py) says which statements are the
program. What only uses the program, as examples and tests of the model's own, is left out: it is not what was asked for.
"""

from dataclasses import dataclass

from pipelines.verifiers.reply_segments import clean
from pipelines.verifiers.reply_shapes import FALLBACKS, SHAPES, Reply


@dataclass(frozen=True, slots=True)
class Extraction:
    """A program, "" if there is none."""

    program: str
    rule: str
    """How it was found, in a few words."""


def extract_program(text: str, names: tuple[str, ...], prompt: str = "") -> Extraction:
    """The program in a model's reply. `names`: what the tests call; `prompt`: the code it continues, "" if none."""
    text = clean(text)
    if names:
        for minds_strings in (True, False):
            reply = Reply(text=text, names=names, prompt=prompt, minds_strings=minds_strings)
            for shape in SHAPES:
                program = shape.program(reply)
                if program is not None:
                    return Extraction(program, shape.rule)
    reply = Reply(text=text, names=names, prompt=prompt)
    for shape in FALLBACKS:
        program = shape.program(reply)
        if program is not None:
            return Extraction(program if program.strip() else "", shape.rule)
    raise AssertionError("the last shape fits every reply")
