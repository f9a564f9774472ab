"""What crosses between the program and its grader: plain data exactly, anything else as a handle, nothing that runs code."""

import json
import math
from collections import Counter, OrderedDict, deque, namedtuple
from typing import Any

import pytest

from pipelines.sandbox.inside.values import CannotCross, decode, encode

Point = namedtuple("Point", "x y")


def cross(value: object) -> Any:
    def refuse(value: object) -> int:
        raise CannotCross(type(value).__name__)

    return decode(json.loads(json.dumps(encode(value, refuse))), lambda handle: f"handle {handle}")


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


def test_iterators_cross_as_their_items_and_views_as_views() -> None:
    assert list(cross(x * x for x in range(4))) == [0, 1, 4, 9]
    assert next(cross(map(str, [1]))) == "1"
    assert cross({1: 2}.keys()) == {1}
    assert list(cross({1: 2}.values())) == [2]
    assert cross({1: 2}.items()) == {(1, 2)}


def test_an_endless_iterator_is_refused() -> None:
    def forever() -> Any:
        while True:
            yield 0

    with pytest.raises(CannotCross, match="more than"):
        cross(forever())


def test_subclasses_of_plain_types_lose_what_their_author_added() -> None:
    class Agreeable(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    assert Agreeable(1) == 2
    assert cross(Agreeable(1)) != 2
    assert cross(Point(1, 2)) == (1, 2)


def test_what_is_no_plain_data_crosses_as_a_handle() -> None:
    assert decode(encode([print], lambda value: 7), lambda handle: ("owned", handle)) == [("owned", 7)]


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
    ],
)
def test_no_other_form_is_read(tree: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode(tree, lambda handle: None)
