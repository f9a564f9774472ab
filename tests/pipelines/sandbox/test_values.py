"""What crosses between the program and its grader: plain data exactly, anything else as a handle, nothing that runs code."""

import itertools
import json
import math
from array import array
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest

from pipelines.sandbox.inside.values import CannotCross, all_items, decode, deep_recursion, encode

Point = namedtuple("Point", "x y")


def cross(value: object) -> Any:
    def refuse(value: object) -> Any:
        raise CannotCross(type(value).__name__)

    return decode(json.loads(json.dumps(encode(value, refuse))), lambda tree: f"handle {tree['handle']}")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**53),
        2**53,
        10**5000,
        1e-320,
        math.inf,
        "",
        "\ud800 \0 é",
        b"\0\xff",
        bytearray(b"a"),
        2 + 3j,
        [],
        [1, [2, (3, {"4": {5, 6}})]],
        (),
        (1,),
        {(1, 2): [3], None: 4, 1.5: frozenset({7})},
        {"tuple": [1], "handle": 3},
        set(),
        frozenset({1}),
        deque([1, 2]),
        range(1, 9, 2),
        slice(1, None),
        Counter("aab"),
        OrderedDict([("b", 1), ("a", 2)]),
        deque([1, 2], 3),
        Decimal("1.50"),
        Fraction(1, 3),
        date(2024, 2, 29),
        datetime(2024, 2, 29, 1, 2, 3, 4, fold=1),
        datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=2))),
        time(1, 2, 3),
        timedelta(days=-1, microseconds=1),
        UUID(int=7),
        array("d", [1.5, 2]),
        memoryview(b"ab"),
        ...,
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_data_crosses_with_its_type(value: object) -> None:
    crossed = cross(value)
    assert crossed == value
    assert type(crossed) is type(value)


def test_floats_keep_what_equality_does_not_see() -> None:
    assert math.copysign(1, cross(-0.0)) == -1
    assert math.isnan(cross(math.nan))


def test_views_cross_as_views() -> None:
    assert cross({1: 2}.keys()) == {1}
    assert list(cross({1: 2}.values())) == [2]
    assert cross({1: 2}.items()) == {(1, 2)}


def test_built_in_types_and_functions_are_themselves() -> None:
    assert [cross(value) is value for value in (int, sum, type(None), ValueError)] == [True] * 4


@pytest.mark.parametrize(
    "value", [eval, exec, open, compile, __import__, getattr, vars, globals, input], ids=lambda value: value.__name__
)
def test_built_ins_that_reach_further_do_not_cross(value: object) -> None:
    with pytest.raises(CannotCross):
        cross(value)
    with pytest.raises(ValueError, match=r"no such type|not the form"):
        decode({"builtin": getattr(value, "__name__", "")}, lambda tree: None)


def test_a_named_tuple_keeps_its_fields() -> None:
    crossed = cross(Point(1, 2))
    assert crossed == (1, 2)
    assert (crossed.x, crossed.y, crossed._fields, repr(crossed)) == (1, 2, ("x", "y"), "Point(x=1, y=2)")


def test_a_missing_key_of_a_default_dict_is_made() -> None:
    assert cross(defaultdict(list, {1: [2]}))[3] == []


def test_a_value_of_a_hundred_levels_crosses_and_one_without_end_does_not() -> None:
    nested: list[Any] = []
    for _ in range(450):
        nested = [nested]
    with deep_recursion():
        assert cross(nested) == nested
    nested.append(nested)
    with pytest.raises(CannotCross, match="holds itself"), deep_recursion():
        cross(nested)


def test_an_endless_iterator_of_the_tests_is_refused() -> None:
    with pytest.raises(CannotCross, match="more than"):
        all_items(itertools.count())


def test_subclasses_of_plain_types_lose_what_their_author_added() -> None:
    class Agreeable(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    assert Agreeable(1) == 2
    assert cross(Agreeable(1)) != 2
    assert cross(Point(1, 2)) == (1, 2)


def test_what_is_no_plain_data_crosses_as_a_handle() -> None:
    form = encode([print], lambda value: {"handle": 7})
    assert decode(form, lambda tree: ("owned", tree["handle"])) == [("owned", 7)]


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"tuple": [1], "set": [2]},
        {"object": []},
        {"__class__": "os.system"},
        {"handle": "1"},
        {"bytes": "xyz"},
        {"int": "ten"},
        {"tuple": 3},
        {"set": [[]]},
        {"dict": [[1]]},
        {"range": ["a"]},
        {"Counter": [[[], 1]]},
        {"complex": [{}]},
        {"builtin": "eval"},
        {"constant": "__import__('os')"},
        {"namedtuple": ["P", ["x; import os"], [1]]},
        {"namedtuple": ["P", ["__class__"], [1]]},
        {"Decimal": "x"},
        {"Fraction": [1, 2]},
        {"datetime": ["now", 0, False]},
        {"array": ["x", "00"]},
        {"lent": "1"},
    ],
)
def test_no_other_form_is_read(tree: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode(tree, lambda handle: None)
