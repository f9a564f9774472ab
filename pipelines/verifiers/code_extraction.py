"""The program in what a model wrote: the last fenced code block that defines what the tests call, else the last fenced code block, else
the whole text, which is how a base model continues a prompt.
"""

import re

FENCED_BLOCK = re.compile(
    r"^[ \t]*```[ \t]*(?P<language>[\w+.-]*)[^\n]*\n(?P<code>.*?)(?:^[ \t]*```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE
)
"""A block that is never closed ends with the text: the model was cut off."""
FUTURE_IMPORT = re.compile(r"^from __future__ import [\w, ]+$", re.MULTILINE)
PYTHON_LANGUAGES = ("python", "python3", "py", "")


def extract_code(text: str, names: tuple[str, ...]) -> str:
    """The program in a model's text, "" if there is none; `names` are what the tests call."""
    blocks = [match["code"] for match in FENCED_BLOCK.finditer(text) if match["language"].lower() in PYTHON_LANGUAGES]
    if not blocks:
        return text if text.strip() else ""
    defining = [block for block in blocks if any(defines(block, name) for name in names)]
    return (defining or blocks)[-1]


def defines(code: str, name: str) -> bool:
    """Whether code binds the name at its top level, by the look of it: it need not compile."""
    return (
        re.search(rf"^(?:(?:async\s+)?def|class)\s+{re.escape(name)}\b|^{re.escape(name)}\s*[:=]", code, re.MULTILINE)
        is not None
    )


def with_future_imports_first(source: str) -> str:
    """The source with `from __future__` at its top, where Python wants it: models that write whole files put it behind the prompt."""
    imports = FUTURE_IMPORT.findall(source)
    return "".join(f"{line}\n" for line in imports) + FUTURE_IMPORT.sub("", source)
