"""What the program raises, as an exception that the tests can catch."""

import builtins
from typing import Any


class ProgramError(Exception):
    """The program raised something that is no built-in exception."""


def attribute_of_remote(self: Any, name: str) -> Any:
    """Attributes of an exception that only the program's own object has."""
    remote = vars(self).get("_remote")
    if remote is None or name.startswith("__"):
        raise AttributeError(name)
    return getattr(remote, name)


def nearest_builtin(names: list[Any]) -> type[BaseException] | None:
    """The first built-in exception among names; None if there is none that may be raised here.

    StopIteration and its like are none of them: they would end a loop of the tests early, and what is not looked at cannot fail.
    """
    for name in names:
        kind = vars(builtins).get(name) if isinstance(name, str) else None
        if isinstance(kind, type) and issubclass(kind, BaseException):
            return None if issubclass(kind, StopIteration | StopAsyncIteration | GeneratorExit) else kind
    return None


def with_arguments(kind: type[BaseException], arguments: list[Any]) -> BaseException:
    """An exception with the arguments that the program's had, however many its constructor wants."""
    try:
        return kind(*arguments)
    except TypeError:
        error = kind.__new__(kind)
        error.args = tuple(arguments)
        return error
