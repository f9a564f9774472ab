"""A reply, cut at its fences and tags into the pieces of text between them.

    reply   = segment (fence segment)*
    fence   = three or more backticks or tildes with what follows on the line, a code tag, or the end of the turn

Chat models forget to close a fence, close it twice, or put the language on the next line; so a segment is what stands between two fences,
whether or not Markdown would call it code. Which segment holds the program is decided by what it defines (reply_shapes.py).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

FENCE_OR_QUOTES = re.compile(
    r"(?P<fence>`{3,}|(?<![^\n])[ \t>]*~{3,})(?P<info>[^\n`]*)"
    r"|(?P<tag></?(?:code|pre|python|answer|solution)(?:\s[^>\n]*)?>|\[/?(?:PYTHON|CODE)\]|\\(?:begin|end)\{(?:code|verbatim|lstlisting)\})"
    r"|(?P<quotes>'''|\"\"\")"
)
"""Backticks count wherever they stand, also behind the last line of the code; tildes only at the start of a line."""
END_OF_TURN = re.compile(
    r"<\|(?:im_end|endoftext|eot_id|end_of_text|end|im_start|eom_id|file_sep|fim_\w+)\|>|<end_of_turn>|<｜end▁of▁sentence｜>"
    r"|</s>[ \t]*(?=\n|\Z)"
)
LANGUAGE_LINE = re.compile(r"\s*[\[{(<.:]*(?:python|py)(?:[23](?:\.\d+)?)?[\]}):>]*[ \t]*(?:\n|\Z)", re.IGNORECASE)
"""The language, alone on the first line of a segment."""
PYTHON_LANGUAGES = frozenset(
    ("", "python", "python2", "python3", "py", "py3", "ipython", "code", "markdown", "md", "text", "plaintext")
)
"""What the info string of a block with a program says; many models write none, or that of a file around it."""
MAX_FENCES = 1_000
"""The rest of a reply with more is one segment: bounds the work on a model that repeats itself."""
SPACES = str.maketrans({"\u00a0": " ", "\u2007": " ", "\u202f": " ", "\u3000": " ", "\u200b": "", "\ufeff": ""})


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """The text between two fences."""

    source: str
    is_fenced: bool
    """A fence or tag stands before it."""
    language: str = ""
    """The first word of that fence's info string, in lower case."""

    @property
    def may_be_python(self) -> bool:
        """No other language was named."""
        return self.language in PYTHON_LANGUAGES


def clean(text: str) -> str:
    """The reply up to the end of its turn, after what was thought, with the line ends and indentation that Python knows."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    text = text.rpartition("</think>")[2]
    for token in END_OF_TURN.finditer(text):
        line = text[text.rfind("\n", 0, token.start()) + 1 : token.start()]
        if line.count('"') % 2 == 0 and line.count("'") % 2 == 0:  # not in a string of the program
            text = text[: token.start()]
            break
    return re.sub(
        r"^[^\S\n]+|^[\u200b\ufeff]+", lambda indentation: indentation[0].translate(SPACES), text, flags=re.MULTILINE
    )


def segments(text: str, *, minds_strings: bool) -> list[Segment]:
    """The segments of a clean reply that hold more than spaces, in order.

    With `minds_strings` a fence inside a triple-quoted string is text, as in a docstring that shows Markdown. Without, it always cuts: the
    other reading, for replies whose quotes do not pair.
    """
    found, start, language, is_fenced = [], 0, "", False
    for fence in islice(fences(text, minds_strings=minds_strings), MAX_FENCES):
        found.append(Segment(source=text[start : fence.start()], is_fenced=is_fenced, language=language))
        info = fence["info"] or ""
        is_code = re.match(r"\s*(?:def|class|import|from|@)\b", info) is not None  # ```def f(x): on one line
        start = fence.start("info") if is_code else fence.end()
        words = "" if is_code else info.strip(" \t{}[].:")
        language, is_fenced = (words.split() or [""])[0].lower(), True
    found.append(Segment(source=text[start:], is_fenced=is_fenced, language=language))
    named = (
        Segment(
            source=LANGUAGE_LINE.sub("", segment.source, count=1),
            is_fenced=segment.is_fenced,
            language=segment.language,
        )
        if LANGUAGE_LINE.match(segment.source)
        else segment
        for segment in found
    )
    return [segment for segment in named if segment.source.strip()]


def fences(text: str, *, minds_strings: bool) -> Iterator[re.Match[str]]:
    """Every fence of the text, in one pass: which triple quotes are open is known at each."""
    place, quotes = 0, ""
    while match := FENCE_OR_QUOTES.search(text, place):
        place = match.end()
        mark = match["quotes"]
        if not mark:
            if not (minds_strings and quotes):
                yield match
            elif match["info"]:
                place = match.start("info")  # the string may end on this line
        elif mark == quotes:
            quotes = ""
        elif not quotes:
            line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
            quotes = "" if line.lstrip().startswith("#") else mark
