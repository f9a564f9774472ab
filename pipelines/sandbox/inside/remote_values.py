"""The program's objects as the tests hold them: each special method that a type has is answered by the program's process.

One of them beside a value of the tests has no verdict: see remote.py.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pipelines.sandbox.inside.program import OPERATIONS
from pipelines.sandbox.inside.remote_exceptions import ProgramError

if TYPE_CHECKING:
    from pipelines.sandbox.inside.remote import RemoteProgram

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
