"""Values as JSON: exact for plain data, a handle for everything else.

None, bool, float, str, small int and list are themselves; other plain data is {"type": parts}. What is no plain data (a function, an
instance of a class) stays in the process that owns it and crosses as {"handle": number}. Decoding builds built-in types only and runs
no code that the sender chose: that is why this is neither pickle nor marshal.

An instance of a subclass of a plain type crosses as the plain type (a namedtuple as a tuple), an iterator as its items.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

MAX_EXACT_INT = 2**53
"""Larger integers cross in hexadecimal: their decimal form is slow, and limited by Python."""
MAX_ITEMS = 1_000_000
"""Items taken from an iterator, which may be endless."""

VIEWS: dict[type, str] = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}


class CannotCross(TypeError):
    """A value that has no form outside its process."""


def encode(value: Any, handle: Callable[[Any], int]) -> Any:
    """The JSON form of a value; `handle` gives a number to what is no plain data, or raises CannotCross."""

    def each(values: Any) -> list[Any]:
        return [encode(item, handle) for item in values]

    def pairs(mapping: Any) -> list[Any]:
        return [[encode(key, handle), encode(item, handle)] for key, item in dict.items(mapping)]

    match value:
        case None | bool():
            return value
        case int():
            return int(value) if -MAX_EXACT_INT < value < MAX_EXACT_INT else {"int": hex(value)}
        case float():
            return float(value)
        case str():
            return str.__str__(value)
        case list():
            return each(value)
        case tuple():
            return {"tuple": each(value)}
        case dict():
            name = next((kind.__name__ for kind in (Counter, OrderedDict) if isinstance(value, kind)), "dict")
            return {name: pairs(value)}
        case set() | frozenset() | deque():
            name = next(kind.__name__ for kind in (set, frozenset, deque) if isinstance(value, kind))
            return {name: each(value)}
        case bytes() | bytearray():
            return {"bytes" if isinstance(value, bytes) else "bytearray": value.hex()}
        case complex():
            return {"complex": [value.real, value.imag]}
        case range():
            return {"range": each((value.start, value.stop, value.step))}
        case slice():
            return {"slice": each((value.start, value.stop, value.step))}
        case Iterator():
            items = list(islice(value, MAX_ITEMS + 1))
            if len(items) > MAX_ITEMS:
                raise CannotCross(f"an iterator of more than {MAX_ITEMS} items")
            return {"iterator": each(items)}
    if type(value) in VIEWS:
        return {VIEWS[type(value)]: each(value)}
    return {"handle": handle(value)}


def decode(tree: Any, owner: Callable[[int], Any]) -> Any:
    """The value; `owner` turns a handle into what stands for it here. Raises ValueError or TypeError at what `encode` cannot have made."""
    match tree:
        case None | bool() | int() | float() | str():
            return tree
        case list():
            return [decode(item, owner) for item in tree]
        case {"handle": int(number)}:
            return owner(number)
        case {"int": str(digits)}:
            return int(digits, 16)
        case {"bytes": str(digits)}:
            return bytes.fromhex(digits)
        case {"bytearray": str(digits)}:
            return bytearray.fromhex(digits)
        case dict() if len(tree) == 1:
            ((name, parts),) = tree.items()
            if name not in BUILDERS:
                raise ValueError(f"no such type: {name!r:.40}")
            return BUILDERS[name](decode(parts, owner))
    raise ValueError(f"not the form of a value: {tree!r:.40}")


BUILDERS: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
    "slice": lambda parts: slice(*parts),
    "iterator": iter,
    "keys": lambda keys: dict.fromkeys(keys).keys(),
    "values": lambda values: dict(enumerate(values)).values(),
    "items": lambda pairs: dict(pairs).items(),
}
