"""The program's side: runs what the model wrote, then does what it is asked, one call at a time.

    {"run": source}                                     -> {"value": null}
    {"name": name}                                      -> {"value": tree}
    {"attribute": handle, "name": name}                 -> {"value": tree}
    {"call": handle, "arguments": tree, "named": tree}  -> {"value": tree, "arguments": tree or null}

Whatever the program raises is answered as {"raised": type, "text": text}; "arguments" tells how a call changed its arguments.
"""

import sys
from types import ModuleType
from typing import Any

from pipelines.sandbox.inside.values import decode, encode
from pipelines.sandbox.inside.wire import MAX_TRUSTED_BYTES, WireError, receive, send

MODULE_NAME = "program"
"""Neither "__main__", so that a block under `if __name__ == "__main__"` does not run, nor the name of a real module."""
MAX_TEXT = 300
"""Characters kept of an exception's text."""


def serve(requests: int, replies: int) -> None:
    """Answer until the grader closes the pipe."""
    program = Program()
    while True:
        try:
            request = receive(requests, max_bytes=MAX_TRUSTED_BYTES)
        except WireError:
            return
        try:
            reply = program.answer(request)
            send(replies, reply)
        except BaseException as error:  # the program's own failure, SystemExit and KeyboardInterrupt included
            send(replies, {"raised": type(error).__name__, "text": text_of(error)})


class Program:
    """What the model wrote, as a module, and the values of it that the grader holds handles to."""

    def __init__(self) -> None:
        self._module = ModuleType(MODULE_NAME)
        self._held: list[Any] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request; raises what the program raises."""
        match request:
            case {"run": source}:
                return self._run(source)
            case {"attribute": handle, "name": name}:
                return {"value": self._encode(getattr(self._held[handle], name))}
            case {"name": name}:
                return {"value": self._encode(self._named(name))}
            case {"call": handle, "arguments": arguments, "named": named}:
                return self._call(handle, arguments, named)
        raise ValueError(f"no such request: {request!r:.80}")

    def _run(self, source: str) -> dict[str, Any]:
        sys.modules[MODULE_NAME] = self._module  # dataclasses and typing look a class's module up there
        try:
            code = compile(source, "<program>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return {"unreadable": text_of(error)}
        exec(code, vars(self._module))
        return {"value": None}

    def _named(self, name: str) -> Any:
        if name not in vars(self._module):
            raise NameError(f"the program defines no {name!r}")
        return vars(self._module)[name]

    def _call(self, handle: int, arguments_tree: Any, named_tree: Any) -> dict[str, Any]:
        arguments = decode(arguments_tree, self._held.__getitem__)
        result = self._held[handle](*arguments, **decode(named_tree, self._held.__getitem__))
        after = self._encode(arguments)
        return {"value": self._encode(result), "arguments": None if after == arguments_tree else after}

    def _encode(self, value: Any) -> Any:
        return encode(value, self._hold)

    def _hold(self, value: Any) -> int:
        for number, held in enumerate(self._held):
            if held is value:
                return number
        self._held.append(value)
        return len(self._held) - 1


def text_of(error: BaseException) -> str:
    """What an exception says; the program may have written that method too."""
    try:
        return str(error)[:MAX_TEXT]
    except BaseException:
        return ""
