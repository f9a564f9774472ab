"""What is given for a flag, before the command line is parsed: it decides how."""

from collections.abc import Sequence
from itertools import pairwise


def values_of(flag: str, args: Sequence[str]) -> list[str]:
    """As `--flag VALUE` and `--flag=VALUE`, the last one last."""
    after = [value for name, value in pairwise(args) if name == flag]
    return after + [arg.partition("=")[2] for arg in args if arg.startswith(f"{flag}=")]
