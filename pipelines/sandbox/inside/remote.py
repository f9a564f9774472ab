"""The program as its grader sees it: names, calls, attributes and operations that are answered by another process.

What the program says of its own values is believed as far as a return value is: it may decide what len(), str() or an attribute of one of
its objects gives, since it does not know what the tests expect. It never sees an expected value: comparing one of its objects with a
value of the tests, or computing with both, would show it that and let it choose what comes out. Then there is no verdict (CannotCross),
neither right nor wrong.
"""

import builtins
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NoReturn

from pipelines.sandbox.inside.program import OPERATIONS
from pipelines.sandbox.inside.values import CannotCross, all_items, decode, deep_recursion, encode
from pipelines.sandbox.inside.wire import MAX_TRUSTED_BYTES, WireError, receive, receive_bytes, send, send_bytes

CONFINED = "confined"
"""What the program's process says first, before it has read anything of the model's."""


class Unreadable(Exception):
    """The program's source does not compile."""


class ProgramError(Exception):
    """The program raised something that is no built-in exception."""


READABLE = frozenset(
    ("__name__", "__qualname__", "__doc__", "__dict__", "__annotations__", "__wrapped__", "__defaults__")
)
"""Attributes with a special name that may be asked for."""


class Remote:
    """Something of the program's: it can be asked for attributes and handed back, and equals itself only.

    What else it can do stands in a subclass, made by `remote_class` for the special methods that its type has there. So len(), iteration,
    callable() and the like work, or raise the error they would, by Python's own rules.
    """

    _program: "RemoteProgram"
    _handle: int

    def __init__(self, program: "RemoteProgram", handle: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_handle", handle)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in READABLE:
            raise AttributeError(f"{name} does not cross from the program's process")
        return self._program.attribute(self._handle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._program.set_attribute(self._handle, name, value)


def forwarded(name: str) -> Callable[..., Any]:
    """A special method that the program's process runs."""

    def method(self: Remote, *arguments: Any) -> Any:
        return self._program.operate(self._handle, name, arguments)

    return method


def call(self: Remote, *arguments: Any, **named: Any) -> Any:
    return self._program.call(self._handle, list(arguments), named)


def between_remotes(name: str) -> Callable[..., Any]:
    """A special method of two of the program's own objects; with a value of the tests there is no verdict."""

    def method(self: Remote, other: Any, *more: Any) -> Any:
        if not isinstance(other, Remote):
            self._program.refuse(
                f"the tests compute with an object of the program's own class and a {type(other).__name__} ({name}): only the program "
                "could say what that gives"
            )
        return self._program.operate(self._handle, name, (other, *more))

    return method


def equality(self: Remote, other: Any) -> bool:
    """Of objects whose class has its own idea of it. Itself equals itself; beyond that the program would be judge in its own case."""
    if self is other or (isinstance(other, Remote) and other._handle == self._handle):
        return True
    self._program.refuse(
        "the tests compare an object of the program's own class, which has an __eq__ of its own: only that could say"
    )


def own_hash(self: Remote) -> int:
    self._program.refuse("the tests hash an object of the program's own class, which has a __hash__ of its own")


def next_item(self: Remote) -> Any:
    try:
        return self._program.operate(self._handle, "__next__", ())
    except ProgramError as error:
        if error.args and error.args[0].startswith("StopIteration"):
            raise StopIteration from None
        raise


def items(self: Remote) -> Iterator[Any]:
    """Lets a `for` of the tests go over what the program's __iter__ gives."""
    iterator: Iterator[Any] = iter(self._program.operate(self._handle, "__iter__", ()))
    return iterator


def leave(self: Remote, kind: Any, error: Any, trace: Any) -> bool:
    """The end of a `with`. An exception of the tests' own is theirs: a program that swallows it would pass what it failed."""
    told = (None, None, None) if kind is None else (None, str(error), None)
    is_swallowed = bool(self._program.operate(self._handle, "__exit__", told))
    if is_swallowed and kind is not None:
        self._program.refuse("the program's context manager swallows what the tests raise")
    return False


def is_instance(self: Remote, other: Any) -> bool:
    """A value of the tests is no instance of the program's classes."""
    return isinstance(other, Remote) and bool(self._program.operate(self._handle, "__instancecheck__", (other,)))


def is_subclass(self: Remote, other: Any) -> bool:
    return isinstance(other, Remote) and bool(self._program.operate(self._handle, "__subclasscheck__", (other,)))


ONE_OPERAND = frozenset(
    (
        *(
            "__len__",
            "__bool__",
            "__reversed__",
            "__getitem__",
            "__setitem__",
            "__delitem__",
            "__repr__",
            "__str__",
            "__format__",
        ),
        *(
            "__int__",
            "__float__",
            "__index__",
            "__complex__",
            "__round__",
            "__trunc__",
            "__floor__",
            "__ceil__",
            "__neg__",
            "__pos__",
        ),
        *("__abs__", "__invert__", "__enter__"),
    )
)
"""Nothing of the tests' values takes part in these, apart from keys and formats."""
METHODS: dict[str, Callable[..., Any]] = {
    **{name: forwarded(name) if name in ONE_OPERAND else between_remotes(name) for name in OPERATIONS},
    "__call__": call,
    "__eq__": equality,
    "__ne__": lambda self, other: not equality(self, other),
    "__hash__": own_hash,
    "__iter__": items,
    "__next__": next_item,
    "__exit__": leave,
    "__instancecheck__": is_instance,
    "__subclasscheck__": is_subclass,
}
CLASSES: dict[frozenset[str], type[Remote]] = {}


def remote_class(can: frozenset[str]) -> type[Remote]:
    """The class of Remotes whose type has these special methods."""
    if can not in CLASSES:
        methods: dict[str, Any] = {name: METHODS[name] for name in can if name in METHODS}
        if "__eq__" in methods and "__hash__" not in methods:
            methods["__hash__"] = Remote.__hash__
        CLASSES[can] = type("Remote", (Remote,), methods)
    return CLASSES[can]


PLAIN_TYPES = {kind.__name__: kind for kind in (int, float, str, bytes, bytearray, list, tuple, dict, set, frozenset)}
NOT_OF_THE_VALUE = frozenset(
    ("__call__", "__enter__", "__exit__", "__next__", "__instancecheck__", "__subclasscheck__")
)
CHANGES = frozenset(("__setitem__", "__delitem__"))
PLAIN_CLASSES: dict[str, type[Remote]] = {}


def by_plain_value(name: str) -> Callable[..., Any]:
    """A special method of the plain value that an instance of a plain type's subclass is."""

    def method(self: Remote, *arguments: Any) -> Any:
        return getattr(self._program.plain(self), name)(*(plain_value(argument) for argument in arguments))

    return method


def plain_value(value: Any) -> Any:
    return value._program.plain(value) if type(value) in PLAIN_CLASSES.values() else value


def remote_plain_class(kind: str) -> type[Remote]:
    """The class of Remotes for instances of the program's own subclasses of a plain type.

    They compute and compare as the plain values that they are; their own methods, and what those change, are the program's.
    """
    if kind not in PLAIN_CLASSES:
        plain_type = PLAIN_TYPES[kind]
        methods: dict[str, Any] = {
            name: forwarded(name) if name in CHANGES else by_plain_value(name)
            for name in (*OPERATIONS, "__hash__")
            if name not in NOT_OF_THE_VALUE and getattr(plain_type, name, None) is not None
        }
        # isinstance(stack, list) holds, as it does where the stack is.
        PLAIN_CLASSES[kind] = type(
            "RemotePlain", (Remote,), {**methods, "__class__": property(lambda self: plain_type)}
        )
    return PLAIN_CLASSES[kind]


class RemoteProcess:
    """A process that this one forked off, and the pipes to it."""

    def __init__(self, pid: int, requests: int, replies: int) -> None:
        self._pid = pid
        self._requests = requests
        self._replies = replies

    def is_confined(self) -> bool:
        """Wait for the program's process to be ready; False if it failed to lock itself in."""
        try:
            return bool(receive(self._replies) == CONFINED)
        except WireError:
            return False

    def how_it_ended(self, error: WireError) -> tuple[str, str]:
        """Status and detail of a program that does not answer any more."""
        for _ in range(20):
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid = 0
                return ended_by(status)
            time.sleep(0.01)
        return "failed", f"the program broke off its answers: {error}"

    def kill(self) -> None:
        """End the program's process, if it runs, and wait until it is gone."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


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


class RemoteRunner(RemoteProcess):
    """The runner, which has a child for each run of the program."""

    def run(self, standard_input: str) -> tuple[str, str]:
        """What the program printed, with the status "passed"; else the status and the reason. Raises WireError if the runner is gone."""
        try:
            send_bytes(self._requests, standard_input.encode(errors="replace"), max_bytes=MAX_TRUSTED_BYTES)
        except BrokenPipeError as error:
            raise WireError("the runner closed its pipe") from error
        ended = receive(self._replies)
        if ended["status"] != "passed":
            return ended["status"], ended["detail"]
        return "passed", receive_bytes(self._replies).decode(errors="replace")


def ended_by(status: int) -> tuple[str, str]:
    """Status and detail of a program that ended by itself, from its wait status."""
    if not os.WIFSIGNALED(status):
        return "failed", f"the program exited with {os.WEXITSTATUS(status)} before its tests were done"
    match os.WTERMSIG(status):
        case signal.SIGKILL:
            return "out_of_memory", "killed by the kernel, most likely for its memory"
        case signal.SIGXCPU:
            return "timeout", "out of processor time"
        case number:
            return "failed", f"the program died of {signal.Signals(number).name}"


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
