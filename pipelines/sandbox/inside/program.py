"""The program's side: runs what the model wrote, then does what it is asked, one request at a time.

    {"run": source}                                     -> {"value": null}
    {"name": name}                                      -> {"value": tree}
    {"attribute": handle, "name": name}                 -> {"value": tree}
    {"set": handle, "name": name, "value": tree}        -> {"value": null}
    {"call": handle, "arguments": tree, "named": tree}  -> {"value": tree, "arguments": tree or null}
    {"operate": handle, "by": name, "arguments": tree}  -> {"value": tree}        one of OPERATIONS
    {"rest": handle}                                    -> {"value": items}       of an iterator
    {"await": handle}                                   -> {"value": tree}        what a coroutine returns
    {"plain": handle}                                   -> {"value": tree}        an instance of a list's subclass, as a list

Whatever the program raises is answered as {"raised": type, ...}, what has no form as {"cannot": reason}; "arguments" tells how a call
changed its arguments. While it works on a request the program may call what the tests lent it: it sends
{"lent": number, "arguments": tree, "named": tree} and is answered {"returned": tree} or {"failed": type, "text": text}, perhaps after
other requests.
"""

import builtins
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from pipelines.sandbox.inside.values import PROGRAM_MODULE, CannotCross, decode, deep_recursion, encode
from pipelines.sandbox.inside.wire import MAX_TRUSTED_BYTES, WireError, receive, send

MAX_TEXT = 300
"""Characters kept of an exception's text."""
ITEMS_AT_ONCE = 1_000
"""Taken from an iterator before more are asked for: few iterators have more, and one without end must cross as well."""

OPERATIONS = (
    *(
        "__len__",
        "__bool__",
        "__iter__",
        "__next__",
        "__reversed__",
        "__getitem__",
        "__setitem__",
        "__delitem__",
        "__contains__",
    ),
    *(
        "__repr__",
        "__str__",
        "__format__",
        "__int__",
        "__float__",
        "__index__",
        "__complex__",
        "__round__",
        "__trunc__",
    ),
    *("__floor__", "__ceil__", "__neg__", "__pos__", "__abs__", "__invert__", "__enter__", "__exit__"),
    *(
        "__eq__",
        "__ne__",
        "__lt__",
        "__le__",
        "__gt__",
        "__ge__",
        "__hash__",
        "__instancecheck__",
        "__subclasscheck__",
        "__call__",
    ),
    *(
        "__add__",
        "__sub__",
        "__mul__",
        "__truediv__",
        "__floordiv__",
        "__mod__",
        "__pow__",
        "__matmul__",
        "__and__",
        "__or__",
    ),
    *(
        "__xor__",
        "__lshift__",
        "__rshift__",
        "__radd__",
        "__rsub__",
        "__rmul__",
        "__rtruediv__",
        "__rfloordiv__",
        "__rmod__",
    ),
    *("__rpow__", "__iadd__", "__isub__", "__imul__"),
)
"""Special methods that may be asked for. Their names go with every handle, of those that its type has."""
KNOWN_OPERATIONS = frozenset(OPERATIONS)
PLAIN_TYPES: tuple[Any, ...] = (int, float, str, bytes, bytearray, list, tuple, dict, set, frozenset)
"""Of which a program may derive classes of its own."""


def serve(requests: int, replies: int) -> None:
    """Answer until the grader closes the pipe."""
    give_quit()
    program = Program(requests, replies)
    while True:
        try:
            request = receive(requests, max_bytes=MAX_TRUSTED_BYTES)
        except WireError:
            return
        program.reply(request)


class Program:
    """What the model wrote, as a module, and the values of it that the grader holds handles to."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests = requests
        self._replies = replies
        # Not "__main__", so that a block under `if __name__ == "__main__"` does not run, nor the name of a real module.
        self._module = ModuleType(PROGRAM_MODULE)
        self._held: list[Any] = []

    def reply(self, request: dict[str, Any]) -> None:
        """Do what is asked, and send what came of it."""
        try:
            answer = self.answer(request)
            with deep_recursion():
                send(self._replies, answer)
        except CannotCross as error:
            send(self._replies, {"cannot": text_of(error)})
        except BaseException as error:  # the program's own failure, SystemExit and KeyboardInterrupt included
            send(self._replies, self._raised(error))

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request; raises what the program raises."""
        match request:
            case {"run": source}:
                return self._run(source)
            case {"set": handle, "name": name, "value": value}:
                setattr(self._held[handle], name, self._decode(value))
                return {"value": None}
            case {"attribute": handle, "name": name}:
                return {"value": self._encode(getattr(self._held[handle], name))}
            case {"name": name}:
                return {"value": self._encode(self._named(name))}
            case {"call": handle, "arguments": arguments, "named": named}:
                return self._call(handle, arguments, named)
            case {"operate": handle, "by": name, "arguments": arguments}:
                held = self._held[handle]
                return {"value": self._encode(getattr(type(held), name)(held, *self._decode(arguments)))}
            case {"rest": handle}:
                return {"value": self._items(self._held[handle])}
            case {"await": handle}:
                return {"value": self._encode(run_coroutine(self._held[handle]))}
            case {"plain": handle}:
                return {"value": self._encode(as_plain(self._held[handle]))}
        raise ValueError(f"no such request: {request!r:.80}")

    def _run(self, source: str) -> dict[str, Any]:
        sys.modules[PROGRAM_MODULE] = self._module  # dataclasses and typing look a class's module up there
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
        arguments = self._decode(arguments_tree)
        result = self._held[handle](*arguments, **self._decode(named_tree))
        after = self._encode(arguments)
        changed = None if after == arguments_tree else after
        for place, argument in enumerate(arguments):
            if result is argument and isinstance(result, list | dict | set | bytearray):
                return {"value": None, "argument": place, "arguments": changed}
        return {"value": self._encode(result), "arguments": changed}

    def _encode(self, value: Any) -> Any:
        with deep_recursion():
            return encode(value, self._hold)

    def _decode(self, tree: Any) -> Any:
        with deep_recursion():
            return decode(tree, self._own)

    def _own(self, tree: dict[str, Any]) -> Any:
        """What the tests hand over beside plain data: something of the program's, a function of theirs, an iterator."""
        match tree:
            case {"handle": handle}:
                return self._held[handle]
            case {"lent": number}:
                return Lent(self, number)
            case {"iterator": items}:
                return iter([decode(item, self._own) for item in items])
        raise ValueError(f"no such value: {tree!r:.80}")

    def _hold(self, value: Any) -> Any:
        """The handle of something that is no plain data, with what the grader has to know of it."""
        if isinstance(value, Lent):
            return {"lent": value.number}
        if isinstance(value, Iterator) and type(value).__module__ != PROGRAM_MODULE:
            return self._items(value)
        traits: dict[str, Any] = {"handle": self._number(value), "can": operations(value)}
        if isinstance(value, type) and issubclass(value, BaseException):
            traits |= {"exception": value.__name__, "bases": builtin_bases(value)}
        elif type(value).__name__ == "coroutine":
            traits["is_coroutine"] = True
        else:
            plain = next((kind.__name__ for kind in PLAIN_TYPES if isinstance(value, kind)), None)
            traits |= {} if plain is None else {"plain": plain}
        return traits

    def _number(self, value: Any) -> int:
        for number, held in enumerate(self._held):
            if held is value:
                return number
        self._held.append(value)
        return len(self._held) - 1

    def _items(self, iterator: Iterator[Any]) -> dict[str, Any]:
        """The next items of an iterator, and its handle if there may be more. What it raises is raised when those are asked for."""
        items: list[Any] = []
        try:
            for item in iterator:
                items.append(self._encode(item))
                if len(items) == ITEMS_AT_ONCE:
                    return {"iterator": items, "rest": self._number(iterator)}
        except CannotCross:
            raise
        except BaseException as error:
            if not items:
                raise
            return {"iterator": items, "rest": self._number(raising(error))}
        return {"iterator": items}

    def _raised(self, error: BaseException) -> dict[str, Any]:
        """An exception, as far as it can be told."""
        told: dict[str, Any] = {
            "raised": type(error).__name__,
            "text": text_of(error),
            "bases": builtin_bases(type(error)),
        }
        try:
            told["args"] = self._encode(list(error.args))
            if type(error).__module__ == PROGRAM_MODULE:
                told |= {"class": self._number(type(error)), "instance": self._number(error)}
            with deep_recursion():
                encode(told, lambda value: None)
        except BaseException:  # the program wrote that class: it is told without
            told.pop("args", None)
        return told

    def call_lent(self, number: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Ask the grader to call a function of the tests, and do meanwhile what it asks."""
        request = {"lent": number, "arguments": self._encode(list(arguments)), "named": self._encode(named)}
        send(self._replies, request)
        while True:
            match receive(self._requests, max_bytes=MAX_TRUSTED_BYTES):
                case {"returned": tree}:
                    return self._decode(tree)
                case {"failed": str(name), "text": str(text)}:
                    raise getattr(builtins, name, RuntimeError)(text)
                case nested:
                    self.reply(nested)


class Lent:
    """A function of the tests, called in their process."""

    def __init__(self, program: Program, number: int) -> None:
        self._program = program
        self.number = number
        self.__name__ = "function"

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._program.call_lent(self.number, arguments, named)


def operations(value: Any) -> list[str]:
    """The special methods of a value's type, those that every object has left out."""
    found: dict[str, Any] = {}
    for base in reversed(type(value).__mro__[:-1]):  # not by getattr, which would find those of the type's own type
        found |= {name: method for name, method in vars(base).items() if name in KNOWN_OPERATIONS}
    return [name for name, method in found.items() if method is not None]


def builtin_bases(kind: type) -> list[str]:
    """The built-in exceptions that an exception is one of, nearest first."""
    return [base.__name__ for base in kind.__mro__ if base.__module__ == "builtins"]


def raising(error: BaseException) -> Iterator[Any]:
    """An iterator that raises."""
    raise error
    yield


def run_coroutine(coroutine: Any) -> Any:
    """What a coroutine returns, run to its end."""
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def as_plain(value: Any) -> Any:
    """An instance of a subclass of a plain type, as that type has it, whatever its own methods say."""
    kind = next(kind for kind in PLAIN_TYPES if isinstance(value, kind))
    if kind is dict:
        return dict(dict.items(value))
    if kind in (int, float, str, bytes):
        return kind.__getnewargs__(value)[0]
    return kind(kind.__iter__(value))


def give_quit() -> None:
    """The built-ins exit() and quit(), which come with the site packages that this Python is started without."""

    def leave(code: object = None) -> None:
        raise SystemExit(code)

    vars(builtins)["exit"] = vars(builtins)["quit"] = leave


def text_of(error: BaseException) -> str:
    """What an exception says; the program may have written that method too."""
    try:
        return str(error)[:MAX_TEXT]
    except BaseException:
        return ""
