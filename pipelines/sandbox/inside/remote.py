"""The program as its grader sees it: names, calls, attributes and operations that are answered by another process.

What the program says of its own values is believed as far as a return value is: it may decide what len(), str() or an attribute of one of
its objects gives, since it does not know what the tests expect. It never sees an expected value: comparing one of its objects with a
value of the tests, or computing with both, would show it that and let it choose what comes out. Then there is no verdict (CannotCross),
neither right nor wrong.
"""

from collections import deque
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NoReturn

from pipelines.sandbox.inside.process import RemoteProcess
from pipelines.sandbox.inside.remote_exceptions import (
    ProgramError,
    attribute_of_remote,
    nearest_builtin,
    with_arguments,
)
from pipelines.sandbox.inside.remote_values import PLAIN_CLASSES, PLAIN_TYPES, Remote, remote_class, remote_plain_class
from pipelines.sandbox.inside.values import CannotCross, all_items, decode, deep_recursion, encode
from pipelines.sandbox.inside.wire import MAX_TRUSTED_BYTES, WireError, receive, send


class Unreadable(Exception):
    """The program's source does not compile."""


class RemoteProgram(RemoteProcess):
    """The program's own process."""

    def __init__(self, pid: int, requests: int, replies: int) -> None:
        super().__init__(pid, requests, replies)
        self._lent: list[Callable[..., Any]] = []
        self._held: list[tuple[Any, int]] = []
        """Exceptions and coroutines of the program's that stand here as Python's own, with their handles."""
        self.obstacle = ""
        """Why there can be no verdict; kept here since the tests may catch the exception that says so."""

    def refuse(self, reason: str) -> NoReturn:
        """End the verdict: something cannot cross that it depends on. Raises CannotCross."""
        self.obstacle = self.obstacle or reason
        raise CannotCross(reason)

    def run(self, source: str) -> None:
        """Run the program's top level. Raises Unreadable, or what the program raises."""
        self._ask({"run": source})

    def named(self, name: str) -> Any:
        """What the program calls by this name."""
        return self._decode(self._ask({"name": name})["value"])

    def attribute(self, handle: int, name: str) -> Any:
        """An attribute of something of the program's."""
        return self._decode(self._ask({"attribute": handle, "name": name})["value"])

    def set_attribute(self, handle: int, name: str, value: Any) -> None:
        """Assign to an attribute."""
        self._ask({"set": handle, "name": name, "value": self._encode(value)})

    def operate(self, handle: int, by: str, arguments: tuple[Any, ...]) -> Any:
        """Run a special method of something of the program's."""
        return self._decode(
            self._ask({"operate": handle, "by": by, "arguments": self._encode(list(arguments))})["value"]
        )

    def plain(self, remote: Remote) -> Any:
        """The plain value of an instance of a plain type's subclass, as it is now."""
        value = self._decode(self._ask({"plain": remote._handle})["value"])
        if PLAIN_CLASSES.get(type(value).__name__) is not type(remote):
            raise WireError("the program calls plain what is not")
        return value

    def call(self, handle: int, arguments: list[Any], named: dict[str, Any]) -> Any:
        """Call something of the program's. Lists, dicts and sets that it changed in place are changed here too."""
        reply = self._ask({"call": handle, "arguments": self._encode(arguments), "named": self._encode(named)})
        if reply.get("arguments") is not None:
            for argument, after in zip(arguments, self._decode(reply["arguments"]), strict=True):
                change_in_place(argument, after)
        match reply:
            case {"argument": int(place)} if 0 <= place < len(arguments):
                return arguments[place]  # the very list it was given
        return self._decode(reply["value"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._send(request)
        while True:
            with deep_recursion():
                answer = receive(self._replies)
            match answer:
                case {"lent": int(number), "arguments": arguments, "named": named}:
                    self._send(self._call_lent(number, arguments, named))
                case {"unreadable": str(text)}:
                    raise Unreadable(text)
                case {"cannot": str(text)}:
                    self.refuse(text)
                case {"raised": str(name), "text": str(text)} as told:
                    raise self._exception(name, text, told)
                case {"value": _} as reply:
                    return reply
                case _:
                    raise WireError("the program answered in another form")

    def _send(self, message: dict[str, Any]) -> None:
        try:
            with deep_recursion():
                send(self._requests, message, max_bytes=MAX_TRUSTED_BYTES)
        except BrokenPipeError as error:
            raise WireError("the program closed its pipe") from error

    def _call_lent(self, number: int, arguments: Any, named: Any) -> dict[str, Any]:
        """Call a function of the tests for the program; what it raises is the program's to handle."""
        if not 0 <= number < len(self._lent):
            raise WireError("the program calls what it was not lent")
        try:
            returned = self._lent[number](*self._decode(arguments), **self._decode(named))
            return {"returned": self._encode(returned)}
        except (WireError, CannotCross):
            raise
        except Exception as error:
            return {"failed": type(error).__name__, "text": str(error)}

    def _encode(self, value: Any) -> Any:
        with deep_recursion():
            return encode(value, self._form_of)

    def _decode(self, tree: Any) -> Any:
        with deep_recursion():
            return decode(tree, self._own)

    def _own(self, tree: dict[str, Any]) -> Any:
        """What stands here for something of the program's, or for what was lent to it."""
        match tree:
            case {"lent": int(number)} if 0 <= number < len(self._lent):
                return self._lent[number]
            case {"iterator": list(first)}:
                return self._iterator([decode(item, self._own) for item in first], tree.get("rest"))
            case {"handle": int(handle), "exception": str(name), "bases": list(bases)}:
                return self._exception_class(handle, name, bases)
            case {"handle": int(handle), "is_coroutine": True}:
                return self._coroutine(handle)
            case {"handle": int(handle), "plain": str(kind)} if kind in PLAIN_TYPES:
                return remote_plain_class(kind)(self, handle)
            case {"handle": int(handle), "can": list(can)}:
                return remote_class(frozenset(map(str, can)))(self, handle)
        raise ValueError(f"no such value: {tree!r:.80}")

    def _iterator(self, first: list[Any], rest: Any) -> Iterator[Any]:
        """The items of an iterator of the program's, asked for as they are needed."""
        while True:
            yield from first
            if not isinstance(rest, int):
                return
            match self._ask({"rest": rest})["value"]:
                case {"iterator": list(more)} as tree:
                    first, rest = self._decode(more), tree.get("rest")
                case _:
                    raise WireError("the program answered in another form")

    def _coroutine(self, handle: int) -> Any:
        async def awaited() -> Any:
            return self._decode(self._ask({"await": handle})["value"])

        coroutine = awaited()
        self._held.append((coroutine, handle))
        return coroutine

    def _exception_class(self, handle: int, name: str, bases: list[Any]) -> type[BaseException]:
        """An exception class of the program's, as one that `except` knows."""
        for held, number in self._held:
            if number == handle and isinstance(held, type):
                return held
        made = type(
            name,
            (nearest_builtin(bases) or ProgramError,),
            {"__module__": "program", "__getattr__": attribute_of_remote},
        )
        self._held.append((made, handle))
        return made

    def _exception(self, name: str, text: str, told: dict[str, Any]) -> BaseException:
        """The exception that the program raised: a test may expect it, or one of its bases."""
        bases = told.get("bases")
        bases = bases if isinstance(bases, list) else []
        arguments = self._decode(told["args"]) if isinstance(told.get("args"), list) else [text]
        match told:
            case {"class": int(handle), "instance": int(instance)} if nearest_builtin(bases) is not None:
                error = with_arguments(self._exception_class(handle, name, bases), arguments)
                vars(error)["_remote"] = Remote(self, instance)
                return error
        kind = nearest_builtin([name])
        return ProgramError(f"{name}: {text}") if kind is None else with_arguments(kind, arguments)

    def _form_of(self, value: Any) -> Any:
        """The form of what is no plain data: the program's own by its handle, functions of the tests as lent."""
        if isinstance(value, Remote):
            return {"handle": value._handle}
        for held, handle in self._held:
            if held is value:
                return {"handle": handle}
        if isinstance(value, Iterator):
            return {"iterator": [encode(item, self._form_of) for item in all_items(value)]}
        if isinstance(value, FunctionType | MethodType) or (
            isinstance(value, BuiltinFunctionType) and value.__module__ in ("math", "operator", "_operator", None)
        ):
            self._lent.append(value)
            return {"lent": len(self._lent) - 1}
        self.refuse(f"the tests hand over a {type(value).__name__}, which cannot leave their process")


def change_in_place(argument: Any, after: Any) -> None:
    """Make a mutable argument what it became in the program's process."""
    if type(argument) is not type(after):
        return
    match argument:
        case list() | bytearray():
            argument[:] = after
        case dict() | set():
            argument.clear()
            argument.update(after)
        case deque():
            argument.clear()
            argument.extend(after)
