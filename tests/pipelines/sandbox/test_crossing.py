"""What crosses between the tests and the program: as if it were here, or no verdict; and never a pass that the program chose itself."""

import secrets

import pytest

from pipelines.errors import InputError
from pipelines.sandbox.choice import choose_sandbox
from pipelines.sandbox.job import JobResult, JobStatus, ScriptJob
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox
from pipelines.verifiers.code_tests import unbound_names


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return choose_sandbox(Limits(timeout_s=10.0), allow_unsafe_execution=False)
    except InputError as error:
        pytest.skip(str(error))


def run(sandbox: Sandbox, program: str, test: str) -> JobResult:
    return sandbox.run(ScriptJob(program=program, test=test, names=unbound_names(test)))


NODE = "class Node:\n    def __init__(self, value, left=None):\n        self.value, self.left = value, left\n"
BOX = """class Box:
    def __init__(self, *items): self.items = list(items)
    def __len__(self): return len(self.items)
    def __getitem__(self, place): return self.items[place]
    def __setitem__(self, place, item): self.items[place] = item
    def __iter__(self): return iter(self.items)
    def __repr__(self): return f"Box{tuple(self.items)}"
    def __add__(self, other): return Box(*self.items, *other.items)
    def __bool__(self): return bool(self.items)
    def __enter__(self): return self
    def __exit__(self, *error): self.items.clear()
    def __float__(self): return 1.5
    def __lt__(self, other): return len(self) < len(other)
"""
STACK = "class Stack(list):\n    def push(self, item): self.append(item)\n"
CUSTOM = "class Custom(ValueError):\n    def __init__(self, code):\n        super().__init__(f'code {code}')\n        self.code = code\n"
CAUGHT = "try:\n    {call}\n    assert False\nexcept {what}:\n    assert {holds}"

CROSSES = {
    "a decimal": (
        "from decimal import Decimal\ndef f(): return Decimal('1.5')",
        "from decimal import Decimal\nassert f() == Decimal('1.5')",
    ),
    "a fraction": ("from fractions import Fraction\ndef f(): return Fraction(1, 3)", "assert f() * 3 == 1"),
    "a date": (
        "import datetime\ndef f(d): return d + datetime.timedelta(1)",
        "import datetime\nassert f(datetime.date(2024, 2, 28)).day == 29",
    ),
    "an array": ("from array import array\ndef f(): return array('i', [1])", "assert f()[0] == 1"),
    "a memoryview": ("def f(): return memoryview(b'ab')", "assert f() == b'ab'"),
    "a type": ("def f(): return [int, str]", "assert f() == [int, str]"),
    "a named tuple": (
        "from collections import namedtuple\ndef f(): return namedtuple('P', 'x y')(1, 2)",
        "assert f().y == 2",
    ),
    "a default dict": ("from collections import defaultdict\ndef f(): return defaultdict(int)", "assert f()[7] == 0"),
    "deep nesting": (
        "def f(n):\n    x = 0\n    for _ in range(n): x = [x]\n    return x",
        "x = f(450)\nwhile x: x = x[0]\nassert x == 0",
    ),
    "an endless iterator": (
        "import itertools\ndef f(): return itertools.count()",
        "it = f()\nassert [next(it) for _ in range(2500)] == list(range(2500))",
    ),
    "an iterator that raises late": (
        "def f():\n    yield 1\n    raise KeyError(2)",
        "it = f()\nassert next(it) == 1\n" + CAUGHT.format(call="next(it)", what="KeyError", holds="True"),
    ),
    "the list it was given": ("def f(xs): return xs", "xs = []\nassert f(xs) is xs"),
    "a global": ("calls = 0\ndef f():\n    global calls\n    calls += 1", "f()\nf()\nassert calls == 2"),
    "an assigned attribute": (
        NODE + "def f(n): return n.left.value",
        "root = Node(1)\nroot.left = Node(2)\nassert f(root) == 2 == root.left.value",
    ),
    "an instance check": (NODE, "assert isinstance(Node(1), Node) and not isinstance(1, Node)"),
    "length and truth": (BOX, "assert len(Box(1, 2)) == 2 and Box(1) and not Box()"),
    "indexing": (BOX, "b = Box(1, 2)\nb[0] = 5\nassert b[0] == 5"),
    "iteration": (BOX, "assert list(Box(1, 2)) == [1, 2] and sum(Box(3, 4)) == 7"),
    "text": (BOX, "assert repr(Box(1, 2)) == str(Box(1, 2)) == f'{Box(1, 2)}' == 'Box(1, 2)'"),
    "addition": (BOX, "assert (Box(1) + Box(2)).items == [1, 2]"),
    "order": (BOX, "assert sorted([Box(1, 2), Box(3)])[0].items == [3]"),
    "a context": (BOX, "with Box(1) as b:\n    assert len(b) == 1\nassert len(b) == 0"),
    "a number": (BOX, "import math\nassert math.isclose(float(Box()), 1.5)"),
    "what cannot be called": (NODE, "assert callable(Node) and not callable(Node(1))"),
    "a list with methods": (
        STACK,
        "s = Stack()\ns.push(1)\ns.push(2)\nassert s == [1, 2] and len(s) == 2 and isinstance(s, list) and s + [3] == [1, 2, 3] and s",
    ),
    "an async function": ("async def f(x): return x + 1", "import asyncio\nassert asyncio.run(f(1)) == 2"),
    "an async function that waits": (
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 3",
        "import asyncio\nassert asyncio.run(f()) == 3",
    ),
    "a subclass of the expected exception": (
        CUSTOM + "def f(): raise Custom(7)",
        CAUGHT.format(call="f()", what="ValueError as e", holds="str(e) == 'code 7'"),
    ),
    "an exception of the program's": (
        CUSTOM + "def f(): raise Custom(7)",
        CAUGHT.format(call="f()", what="Custom as e", holds="e.code == 7"),
    ),
    "an exception's arguments": (
        "def f(): raise KeyError('a', 2)",
        CAUGHT.format(call="f()", what="KeyError as e", holds="e.args == ('a', 2)"),
    ),
    "an exception of many arguments": (
        "def f(): b'\\xff'.decode()",
        CAUGHT.format(call="f()", what="UnicodeDecodeError as e", holds="e.start == 0"),
    ),
    "an exit": (
        "import sys\ndef f(): sys.exit(3)",
        CAUGHT.format(call="f()", what="SystemExit as e", holds="e.code == 3"),
    ),
    "a lambda of the tests": ("def f(g, xs): return [g(x) for x in xs]", "assert f(lambda x: x * 2, [1, 2]) == [2, 4]"),
    "a function of the tests that calls the program": (
        "def f(g): return g(3)\ndef h(x): return x + 1",
        "assert f(lambda x: h(x) * 2) == 8",
    ),
    "a function of the tests that raises": (
        "def f(g):\n    try: g()\n    except ValueError: return 1",
        "def g(): raise ValueError\nassert f(g) == 1",
    ),
    "a type of the tests": ("def f(kind, x): return kind(x), isinstance(x, kind)", "assert f(int, '3') == (3, False)"),
    "a function of mathematics": ("def f(g): return g(4)", "import math\nassert f(math.sqrt) == 2"),
}


@pytest.mark.parametrize("what", CROSSES)
def test_what_tests_do_with_a_program_works_as_if_it_were_here(sandbox: Sandbox, what: str) -> None:
    program, test = CROSSES[what]
    exec(f"{program}\n{test}", {"__name__": "here"})
    assert run(sandbox, program, test) == JobResult(JobStatus.PASSED)


EVIL = """class Evil:
    {method} = lambda self, *others: {result}
def f(x): return Evil()
"""
FORGED = {
    "equal to everything": (EVIL.format(method="__eq__", result="True"), "assert f(1) == {token}"),
    "equal from the other side": (EVIL.format(method="__eq__", result="True"), "assert {token} == f(1)"),
    "unequal to nothing": (EVIL.format(method="__ne__", result="False"), "assert not f(1) != {token}"),
    "no distance from anything": (EVIL.format(method="__sub__", result="0"), "assert abs(f(1) - {token}) < 1e-6"),
    "no distance, the other way": (EVIL.format(method="__rsub__", result="0"), "assert abs({token} - f(1)) < 1e-6"),
    "holds everything": (EVIL.format(method="__contains__", result="True"), "assert {token} in f(1)"),
    "greater than everything": (EVIL.format(method="__gt__", result="True"), "assert f(1) > {token}"),
    "swallows a failed assertion": (
        "class Evil:\n    __enter__ = lambda self: self\n    __exit__ = lambda self, *error: True\n"
        "    def __eq__(self, other): return False\ndef f(x): return Evil()",
        "with f(1):\n    assert 1 == {token}",
    ),
    "an instance of everything": (
        "class Meta(type):\n    __instancecheck__ = lambda self, other: True\nclass f(metaclass=Meta): pass",
        "assert isinstance({token}, f)",
    ),
    "ends the loop of the tests": (
        "def f(x): raise StopIteration",
        "assert all(map(lambda x: f(x) == {token}, [1, 2]))",
    ),
    "ends the loop by an exception of its own": (
        "class Mine(StopIteration): pass\ndef f(x): raise Mine",
        "assert list(map(f, [1])) == [] or f(1) == {token}",
    ),
    "a list that is every list": (
        "class Evil(list):\n    def push(self): pass\n    __eq__ = lambda self, other: True\ndef f(x): return Evil()",
        "assert f(1) == [{token}]",
    ),
    "a number that is every number": (
        "class Evil(int):\n    def own(self): pass\n    __eq__ = __rsub__ = __sub__ = lambda self, other: 0\ndef f(x): return Evil()",
        "assert abs(f(1) - {token}) < 1e-6",
    ),
    "a refusal that the tests swallow": (
        EVIL.format(method="__eq__", result="True"),
        "try:\n    assert f(1) == {token}\nexcept TypeError:\n    pass",
    ),
    "a call of what was not lent": (
        'import os\ndef f(x):\n    body = b\'{{"lent": 0, "arguments": [], "named": {{}}}}\'\n'
        "    for fd in range(3, 64):\n        try: os.write(fd, len(body).to_bytes(4, 'big') + body)\n        except OSError: pass\n",
        "assert f(1) == {token}",
    ),
}


@pytest.mark.parametrize("what", FORGED)
def test_no_program_passes_by_what_its_objects_say_of_themselves(sandbox: Sandbox, what: str) -> None:
    program, test = FORGED[what]
    test = test.replace("{token}", str(secrets.randbits(64) + 2))
    result = run(sandbox, program.replace("{{", "{").replace("}}", "}"), test)
    assert result.status in (JobStatus.FAILED, JobStatus.UNDECIDED), result


UNDECIDED = {
    "its own equality": (
        NODE + "    __eq__ = lambda self, other: self.value == other.value\n",
        "assert Node(1) == Node(1)",
        "__eq__",
    ),
    "a scalar product": (
        BOX + "    __mul__ = lambda self, by: Box(*self.items * by)\n",
        "assert len(Box(1) * 2) == 2",
        "__mul__",
    ),
    "a list that holds itself": (
        "def f():\n    xs = []\n    xs.append(xs)\n    return xs",
        "assert len(f()) == 1",
        "holds itself",
    ),
    "a class of the tests": ("def f(kind): return kind()", "class A: pass\nf(A)", "type"),
}


@pytest.mark.parametrize("what", UNDECIDED)
def test_what_cannot_be_said_without_the_program_is_undecided_with_the_reason(sandbox: Sandbox, what: str) -> None:
    program, test, reason = UNDECIDED[what]
    result = run(sandbox, program, test)
    assert result.status is JobStatus.UNDECIDED
    assert reason in result.detail


FORGED_REPLY = """
import json, os
body = json.dumps({"raised": "ValueError", "text": "\\x1b]0;owned\\x07" * 1_000_000, "bases": []}).encode()
def f(x):
    for fd in range(3, 64):
        try:
            os.write(fd, len(body).to_bytes(4, "big"))
            sent = 0
            while sent < len(body): sent += os.write(fd, body[sent:])
        except OSError:
            pass
"""


@pytest.mark.parametrize(
    "program",
    [
        FORGED_REPLY,
        "def f(x): raise ValueError('\x1b[2Jcleared\\x00 \\u202e' * 10_000)",
        "def f(x): raise type('\x1b[2J' * 10_000, (Exception,), {})('x')",
        "class A:\n    def __repr__(self): return '\x1b[2J' * 10_000\ndef f(x): raise ValueError(A())",
    ],
)
def test_a_detail_is_short_and_does_nothing_to_a_terminal(sandbox: Sandbox, program: str) -> None:
    result = run(sandbox, program, "assert f(1) == 1")
    assert result.status is JobStatus.FAILED
    assert 0 < len(result.detail.encode()) <= 4096
    assert result.detail.isprintable()
