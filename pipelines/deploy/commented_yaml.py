"""YAML with a comment above a key, which PyYAML cannot write: a manifest says beside each surprising value why it is so."""

from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import yaml

COMMENT_WIDTH = 118
"""Columns of a comment line, indentation included."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A value of a mapping, and the comment that stands above its key."""

    value: Any
    comment: str


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command as its words, by line; one string for whoever reads the YAML."""

    lines: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.lines)


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping that whoever reads the YAML gets as the text of a YAML document of its own."""

    content: dict[str, Any]

    def __str__(self) -> str:
        return "\n".join(mapping_lines(self.content, 0)) + "\n"


def plain(node: Any) -> Any:
    """The same values without comments."""
    if isinstance(node, Noted):
        return plain(node.value)
    if isinstance(node, CommandLine | Document):
        return str(node)
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(item) for item in node]
    return node


def to_yaml(manifest: dict[str, Any], *, header: str) -> str:
    """The text of a file: header lines as comments, then the manifest."""
    top = [f"# {line}".rstrip() for line in header.splitlines()]
    return "\n".join([*top, "", *mapping_lines(manifest, 0)]) + "\n"


def mapping_lines(mapping: dict[str, Any], indent: int) -> list[str]:
    """Lines of a block mapping."""
    lines: list[str] = []
    for key, value in mapping.items():
        if isinstance(value, Noted):
            lines += comment_lines(value.comment, indent)
            value = value.value
        lines += entry_lines(f"{' ' * indent}{key}:", value, indent)
    return lines


def entry_lines(start: str, value: Any, indent: int) -> list[str]:
    """Lines of a key and its value."""
    if isinstance(value, CommandLine):
        return [f"{start} >-", *(f"{' ' * (indent + 2)}{line}" for line in value.lines)]
    if isinstance(value, Document):
        return [f"{start} |", *mapping_lines(value.content, indent + 2)]
    if isinstance(value, dict) and value:
        return [start, *mapping_lines(value, indent + 2)]
    if isinstance(value, list) and value:
        return [start, *(line for item in value for line in item_lines(item, indent + 2))]
    return [f"{start} {scalar(value)}"]


def item_lines(item: Any, indent: int) -> list[str]:
    """Lines of one item of a list: "- " stands in the place of the first line's indentation."""
    if isinstance(item, Noted):
        return [*comment_lines(item.comment, indent), *item_lines(item.value, indent)]
    if not isinstance(item, dict):
        return [f"{' ' * indent}- {scalar(item)}"]
    lines = mapping_lines(item, indent + 2)
    first = next(number for number, line in enumerate(lines) if not line.lstrip().startswith("#"))
    lines[first] = f"{' ' * indent}- {lines[first].lstrip()}"
    return lines


def comment_lines(comment: str, indent: int) -> list[str]:
    """A comment, wrapped."""
    return [f"{' ' * indent}# {line}" for line in wrap(comment, COMMENT_WIDTH - indent - 2)]


def scalar(value: Any) -> str:
    """One value on one line, quoted where YAML needs it."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("...").rstrip()
