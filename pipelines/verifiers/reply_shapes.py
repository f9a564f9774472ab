"""The shapes of replies that hold a program, from the surest down: the first that fits says what the program is.

Each is a class with the rule it goes by, which is stored with the verdict. `names` are what the tests call; `prompt` is the code that the
program continues, "" where it stands alone (HumanEval has one, MBPP none).
"""

import ast
import re
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

from pipelines.verifiers.python_source import (
    Source,
    bound_names,
    is_stub,
    longest_prefix,
    missing_names,
    needed,
    parse,
    read_source,
    readable_lines,
)
from pipelines.verifiers.reply_segments import Segment, segments

RETURNS = re.compile(r"^\s+(?:return|yield)\b", re.MULTILINE)
"""What makes indented lines look like a body."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A clean reply, and what is looked for in it."""

    text: str
    names: tuple[str, ...]
    prompt: str
    minds_strings: bool = True
    """Whether a fence inside a triple-quoted string is text."""

    @cached_property
    def segments(self) -> list[Segment]:
        """What stands between fences."""
        return segments(self.text, minds_strings=self.minds_strings)

    @cached_property
    def sources(self) -> list[Source]:
        """The same, read as Python."""
        return [read_source(margin_removed(segment.source)) for segment in self.segments]

    def defined_in(self, source: Source) -> set[str]:
        """The names looked for that a source defines, by more than a head with a docstring."""
        return {name for name in self.names if any(not is_stub(statement) for statement in source.binders(name))}


class ReplyShape(Protocol):
    """One shape."""

    rule: ClassVar[str]
    """How the program was found, for whoever reads the verdict."""

    def program(self, reply: Reply) -> str | None:
        """The program, None if the reply has another shape."""
        ...


class BodyFirst:
    """A base model goes on with the function whose head was the prompt; what comes behind the function is of no interest."""

    rule: ClassVar[str] = "the prompt's function, continued"

    def program(self, reply: Reply) -> str | None:
        """See ReplyShape."""
        first = next(iter(reply.segments), None)
        if first is None or not reply.prompt or not is_indented(first.source):
            return None
        if reply.defined_in(read_source(margin_removed(first.source))):
            return None  # a whole function, all of it indented
        return body(reply, first.source)


class CompleteDefinition:
    """A block that defines what the tests call. Of several the first: what follows are variants, and wrong versions to learn from."""

    rule: ClassVar[str] = "the first block that defines what the tests call"

    def program(self, reply: Reply) -> str | None:
        """See ReplyShape."""
        found = [(len(reply.defined_in(source)), -place) for place, source in enumerate(reply.sources)]
        count, place = max(found, default=(0, 0))
        return with_helpers(reply, -place) if count else None


class CutOffDefinition:
    """A function that ends in mid-sentence, by the length limit or by a fence: as many of its lines as are Python."""

    rule: ClassVar[str] = "the lines of a cut-off function that are Python"

    def program(self, reply: Reply) -> str | None:
        """See ReplyShape."""
        for segment in reply.segments:
            text = margin_removed(segment.source)
            for name in reply.names:
                head = re.search(rf"^(?:@.*\n)*(?:(?:async\s+)?def|class)\s+{re.escape(name)}\b", text, re.MULTILINE)
                whole = head and longest_prefix(text[head.start() :], name=name)
                if not (head and whole):
                    continue
                before = read_source(text[: head.start()])
                kept = needed(read_source(f"{joined(before)}\n{whole}"), reply.names)
                if any(not is_stub(statement) and name in bound_names(statement) for statement, _ in kept):
                    return "\n".join(text for _, text in kept)
        return None


class BodyInBlock:
    """A block that holds the body alone, indented or not."""

    rule: ClassVar[str] = "a block with the body of the prompt's function"

    def program(self, reply: Reply) -> str | None:
        """See ReplyShape."""
        if not reply.prompt:
            return None
        for segment in sorted(reply.segments, key=lambda segment: not segment.is_fenced):
            stripped = segment.source.strip("\n")
            readings = (stripped, textwrap.indent(textwrap.dedent(stripped), "    "), f"    {stripped}")
            bodies = [body(reply, source) or "" for source in readings if RETURNS.search(source)]
            longest = max(bodies, key=len, default="")
            if longest:
                return longest
        return None


class WholeProgram:
    """The last block that is Python: for scripts, and for functions by another name."""

    rule: ClassVar[str] = "the last block of Python"

    def program(self, reply: Reply) -> str | None:
        """See ReplyShape."""
        fenced = [segment for segment in reply.segments if segment.is_fenced and segment.may_be_python]
        readable = [
            segment.source for segment in fenced if parse(segment.source) is not None and says_something(segment.source)
        ]
        return readable[-1] if readable else fenced[-1].source if fenced else None


class BareText:
    """No block at all: the text is the program, without the prose around it."""

    rule: ClassVar[str] = "the whole text"

    def program(self, reply: Reply) -> str | None:
        """See ReplyShape."""
        if not reply.segments:
            return ""  # nothing but fences
        if parse(reply.text) is not None or reply.names:
            return reply.text
        statements = joined(read_source(reply.text))
        return statements if says_something(statements) else reply.text


SHAPES: tuple[ReplyShape, ...] = (BodyFirst(), CompleteDefinition(), CutOffDefinition(), BodyInBlock())
"""Tried with fences in strings taken as text, then with every fence cutting."""
FALLBACKS: tuple[ReplyShape, ...] = (WholeProgram(), BareText())
"""Where nothing defines what the tests call, or they call nothing."""


def body(reply: Reply, source: str) -> str | None:
    """As much of a function's body as, behind the prompt, is Python and does something, with what it needs of the lines behind it.

    None if nothing does. A base model often writes the function once more, worse: the body was its answer.
    """
    name, skipped = reply.names[-1], reply.prompt.count("\n")
    lines = source.lstrip("\n").rstrip().split("\n")
    while lines:
        whole = reply.prompt + "\n".join(lines)
        count = readable_lines(whole) - skipped
        if count == len(lines):
            break
        lines = lines[: max(count, 0)]
    read = read_source(reply.prompt + "\n".join(lines))
    continued = next((statement for statement, _ in read.statements if name in bound_names(statement)), None)
    if continued is None or is_stub(continued) or not read.is_whole:
        return None
    rest = needed(read, reply.names)
    end = (continued.end_lineno or 0) - skipped
    after = [text for node, text in rest if node.lineno > (continued.end_lineno or 0) and not is_function(node, name)]
    return "\n".join((*lines[:end], *after)) + "\n"


def is_function(statement: ast.stmt, name: str) -> bool:
    """Whether a statement defines the function of this name."""
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == name


def with_helpers(reply: Reply, place: int) -> str:
    """The statements of one block that the tests need, behind those that only other blocks have."""
    source = reply.sources[place]
    kept = needed(source, reply.names)
    is_all = source.is_whole and len(kept) == len(source.statements)
    program = source.text if is_all else "\n".join(text for _, text in kept) + "\n"
    missing = missing_names(statement for statement, _ in kept) - prompt_names(reply.prompt)
    for other in reply.sources:
        if other is not source and missing and any(other.binders(name) for name in missing):
            helpers = needed(other, missing)
            program = "\n".join(text for _, text in helpers) + "\n" + program
            missing -= {name for statement, _ in helpers for name in bound_names(statement)}
    return program


def prompt_names(prompt: str) -> set[str]:
    """What a prompt brings."""
    tree = parse(prompt)
    return {name for statement in tree.body for name in bound_names(statement)} if tree else set()


def joined(source: Source) -> str:
    """The statements of a source that could be read."""
    return "\n".join(text for _, text in source.statements)


def is_indented(source: str) -> bool:
    """Whether the first line with anything on it is."""
    return source.lstrip("\n")[:1].isspace()


def margin_removed(source: str) -> str:
    """A block without the margin that all its lines have, or that its first one has, as in a list."""
    first = source.lstrip("\n")
    margin = first[: len(first) - len(first.lstrip(" \t"))]
    return "\n".join(line.removeprefix(margin) for line in source.split("\n")) if margin else source


def says_something(source: str) -> bool:
    """Whether Python is more than a value or a word: what programs print is often Python too."""
    tree = parse(source)
    return tree is not None and any(not is_value(statement) for statement in tree.body)


def is_value(statement: object) -> bool:
    """Whether a statement is a lone value or name."""
    return isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Call | ast.Await)
