"""Values as JSON: exact for plain data, a handle for everything else.

None, bool, float, str, small int and list are themselves; other plain data is {"type": parts}. What is no plain data (a function, an
instance of a class of the program's) stays in the process that owns it and crosses as {"handle": number, ...}, with what that process
says of it. Decoding builds built-in and library types only and runs no code that the sender chose: that is why this is neither pickle nor
marshal.

Library types are looked for only where their module was imported: a value of Decimal cannot be there before, and an import costs more
than the rest of a call.
"""

import builtins
import contextlib
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Any

MAX_EXACT_INT = 2**53
"""Larger integers cross in hexadecimal: their decimal form is slow, and limited by Python."""
MAX_ITEMS = 1_000_000
"""Items taken from an iterator that the tests hand over, which may be endless."""
CROSSING_DEPTH = 6_000
"""Recursion limit while a value crosses: some 2,000 lists in each other, and three times less than what the stack of a process holds."""

VIEWS: dict[type, str] = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}
CROSS_BY_NAME = """
    bool int float complex str bytes bytearray list tuple dict set frozenset range slice object type memoryview
    abs all any ascii bin chr divmod enumerate filter format hash hex isinstance issubclass iter len map max min next oct ord pow repr
    reversed round sorted sum zip
    ArithmeticError AssertionError AttributeError EOFError Exception IndexError KeyError LookupError NameError NotImplementedError OSError
    OverflowError RuntimeError TypeError ValueError ZeroDivisionError
"""
BUILTINS: dict[str, Any] = {name: getattr(builtins, name) for name in CROSS_BY_NAME.split()} | {"NoneType": type(None)}
"""Built-in types and functions that cross by name: none of them reaches files, frames or the interpreter."""
BUILTIN_NAMES = {id(value): name for name, value in BUILTINS.items()}


class CannotCross(TypeError):
    """A value that has no form outside its process."""


@contextlib.contextmanager
def deep_recursion() -> Iterator[None]:
    """Room for values that are nested deeply. Raises CannotCross where that is not enough: most likely a list that holds itself."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, CROSSING_DEPTH))
    try:
        yield
    except RecursionError as error:
        raise CannotCross("a value that is nested thousands of levels deep") from error
    finally:
        sys.setrecursionlimit(limit)


def encode(value: Any, handle: Callable[[Any], Any], around: frozenset[int] = frozenset()) -> Any:
    """The JSON form of a value; `handle` gives one to what is no plain data, or raises CannotCross.

    `around`: the ids of the values that this one is in.
    """
    if id(value) in around:
        raise CannotCross("a value that holds itself")

    def each(values: Any) -> list[Any]:
        inside = around | {id(value)}
        return [encode(item, handle, inside) for item in values]

    def pairs(mapping: Any) -> list[Any]:
        inside = around | {id(value)}
        return [[encode(key, handle, inside), encode(item, handle, inside)] for key, item in dict.items(mapping)]

    if has_ways_of_its_own(value):
        return handle(value)
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
            return each(list.__iter__(value))
        case tuple():
            fields = named_fields(value)
            return (
                {"tuple": each(value)}
                if fields is None
                else {"namedtuple": [type(value).__name__, fields, each(value)]}
            )
        case defaultdict():
            return {"defaultdict": [encode(value.default_factory, handle), pairs(value)]}
        case dict():
            name = next((kind.__name__ for kind in (Counter, OrderedDict) if isinstance(value, kind)), "dict")
            return {name: pairs(value)}
        case deque():
            return {"deque": [value.maxlen, each(value)]}
        case set() | frozenset():
            return {"set" if isinstance(value, set) else "frozenset": each(value)}
        case bytes() | bytearray():
            return {"bytes" if isinstance(value, bytes) else "bytearray": value.hex()}
        case memoryview():
            return {"memoryview": value.tobytes().hex()} if value.format == "B" else handle(value)
        case complex():
            return {"complex": [value.real, value.imag]}
        case range():
            return {"range": each((value.start, value.stop, value.step))}
        case slice():
            return {"slice": each((value.start, value.stop, value.step))}
    if value is Ellipsis or value is NotImplemented:
        return {"constant": repr(value)}
    if type(value) in VIEWS:
        return {VIEWS[type(value)]: each(value)}
    if BUILTINS.get(BUILTIN_NAMES.get(id(value), "")) is value:
        return {"builtin": BUILTIN_NAMES[id(value)]}
    of_library = library_form(value)
    return handle(value) if of_library is None else of_library


PROGRAM_MODULE = "program"
"""What the program's own classes call their module."""


def has_ways_of_its_own(value: Any) -> bool:
    """Whether a value's class is the program's and adds public names to a plain type: a stack that is a list with push()."""
    kind = type(value)
    if kind.__module__ != PROGRAM_MODULE or named_fields(value) is not None:
        return False
    own = (name for base in kind.__mro__ if base.__module__ == PROGRAM_MODULE for name in vars(base))
    return any(not name.startswith("_") for name in (*own, *getattr(value, "__dict__", ())))


def named_fields(value: Any) -> list[str] | None:
    """The fields of a named tuple that has nothing besides, else None."""
    kind, fields = type(value), getattr(type(value), "_fields", None)
    if kind.__mro__[1:] != (tuple, object) or not isinstance(fields, tuple):
        return None
    names = [name for name in vars(kind) if not name.startswith("_")]
    return list(fields) if sorted(names) == sorted(fields) else None


def library_form(value: Any) -> dict[str, Any] | None:
    """The form of a number, a time or an array of the standard library; None for anything else."""
    for module, name, form in LIBRARY_FORMS:
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(value, kind):
            parts = form(value)
            return None if parts is None else {name: parts}
    return None


def moment(value: Any) -> list[Any] | None:
    """A datetime or time, with its offset in seconds; None where the offset depends on a table of zones."""
    zone = value.tzinfo
    if zone is None:
        return [value.isoformat(), value.fold, False]
    return [value.isoformat(), value.fold, True] if type(zone).__name__ == "timezone" else None


LIBRARY_FORMS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("decimal", "Decimal", str),
    ("fractions", "Fraction", lambda value: [hex(value.numerator), hex(value.denominator)]),
    ("datetime", "datetime", moment),
    ("datetime", "date", lambda value: value.isoformat()),
    ("datetime", "time", moment),
    ("datetime", "timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    ("uuid", "UUID", lambda value: value.hex),
    ("array", "array", lambda value: [value.typecode, value.tobytes().hex()]),
)
"""Module, type, and its parts. A datetime is a date too: it comes first."""


def decode(tree: Any, owner: Callable[[dict[str, Any]], Any]) -> Any:
    """The value; `owner` turns a handle into what stands for it here. Raises ValueError or TypeError at what `encode` cannot have made."""
    match tree:
        case None | bool() | int() | float() | str():
            return tree
        case list():
            return [decode(item, owner) for item in tree]
        case {"handle": int()} | {"lent": int()} | {"iterator": list()}:
            return owner(tree)
        case {"int": str(digits)}:
            return int(digits, 16)
        case {"bytes": str(digits)}:
            return bytes.fromhex(digits)
        case {"bytearray": str(digits)}:
            return bytearray.fromhex(digits)
        case {"memoryview": str(digits)}:
            return memoryview(bytes.fromhex(digits))
        case {"builtin": str(name)} if name in BUILTINS:
            return BUILTINS[name]
        case {"constant": "Ellipsis"}:
            return Ellipsis
        case {"constant": "NotImplemented"}:
            return NotImplemented
        case {"namedtuple": [str(name), [*fields], [*parts]]}:
            return named_tuple(name, tuple(fields))(decode(part, owner) for part in parts)
        case dict() if len(tree) == 1:
            ((name, parts),) = tree.items()
            if name in LIBRARY_BUILDERS:
                return LIBRARY_BUILDERS[name](parts)
            if name not in BUILDERS:
                raise ValueError(f"no such type: {name!r:.40}")
            return BUILDERS[name](decode(parts, owner))
    raise ValueError(f"not the form of a value: {tree!r:.40}")


def named_tuple(name: str, fields: tuple[Any, ...]) -> type[tuple[Any, ...]]:
    """A tuple with named fields, made without running source, as collections.namedtuple does. Raises ValueError at what is no name."""
    if not all(isinstance(field, str) and field.isidentifier() and not field.startswith("_") for field in fields):
        raise ValueError(f"no names of fields: {fields!r:.40}")
    shown = lambda self: f"{name}({', '.join(f'{field}={item!r}' for field, item in zip(fields, self, strict=False))})"  # noqa: E731
    as_dict = lambda self: dict(zip(fields, self, strict=False))  # noqa: E731
    places = {field: property(itemgetter(place)) for place, field in enumerate(fields)}
    return type("named_tuple", (tuple,), {**places, "_fields": fields, "_asdict": as_dict, "__repr__": shown})


def fraction(parts: Any) -> Any:
    from fractions import Fraction

    numerator, denominator = parts
    return Fraction(int(numerator, 16), int(denominator, 16))


def decimal(parts: Any) -> Any:
    from decimal import Decimal, InvalidOperation

    try:
        return Decimal(parts)
    except InvalidOperation as error:
        raise ValueError("no decimal") from error


def of_datetime(name: str) -> Callable[[Any], Any]:
    """How one of the module's types is made of its parts."""

    def build(parts: Any) -> Any:
        """The value. Raises what datetime raises on parts that make none."""
        import datetime

        if name == "date":
            return datetime.date.fromisoformat(parts)
        if name == "timedelta":
            days, seconds, microseconds = parts
            return datetime.timedelta(days, seconds, microseconds)
        text, fold, _ = parts
        kind = datetime.datetime if name == "datetime" else datetime.time
        return kind.fromisoformat(text).replace(fold=fold)

    return build


def array_of(parts: Any) -> Any:
    from array import array

    code, digits = parts
    return array(code, bytes.fromhex(digits))


def unique_id(parts: Any) -> Any:
    from uuid import UUID

    return UUID(hex=parts)


LIBRARY_BUILDERS: dict[str, Callable[[Any], Any]] = {
    "Decimal": decimal,
    "Fraction": fraction,
    "UUID": unique_id,
    "array": array_of,
    **{name: of_datetime(name) for name in ("datetime", "date", "time", "timedelta")},
}


def default_dict(parts: Any) -> Any:
    factory, pairs = parts
    return defaultdict(factory, pairs)


def bounded_deque(parts: Any) -> Any:
    most, items = parts
    return deque(items, most)


BUILDERS: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": bounded_deque,
    "dict": dict,
    "defaultdict": default_dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
    "slice": lambda parts: slice(*parts),
    "keys": lambda keys: dict.fromkeys(keys).keys(),
    "values": lambda values: dict(enumerate(values)).values(),
    "items": lambda pairs: dict(pairs).items(),
}


def all_items(iterator: Iterator[Any]) -> list[Any]:
    """What an iterator gives. Raises CannotCross if it does not end soon."""
    items = list(islice(iterator, MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        raise CannotCross(f"an iterator of more than {MAX_ITEMS} items")
    return items
