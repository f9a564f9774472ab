"""What a model wrote, as an HTML page can hold it."""

UNSAFE_IN_HTML = str.maketrans({"\r": "\u240d", "\0": "\u2400"})
"""Characters that an HTML parser changes, and the pictures of them that are shown instead: lengths must not change."""


def shown_text(text: str) -> str:
    """The text as the page holds it: as many code points, none of which an HTML parser changes."""
    return text.translate(UNSAFE_IN_HTML)
