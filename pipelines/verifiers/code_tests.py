"""The tests of a code problem. Its reference answer is a JSON object that holds them, in one of four forms:

    {"entry_point", "prompt", "test"}                                 HumanEval, HumanEval+
    {"test_imports", "test_list"}                                     MBPP, MBPP+
    {"stdin_tests": [{"input", "output"}, ...]}                       LiveCodeBench, programs that read standard input
    {"entry_point", "functional_tests": [{"input", "output"}, ...]}   LiveCodeBench, functions

Each form is a type that knows what the tests call and how a program is tested.
"""

import ast
import builtins
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from pipelines.errors import InputError
from pipelines.problems.problem import Problem
from pipelines.sandbox.backends import TEST_PACKAGES
from pipelines.sandbox.inside.prelude import PRELUDE
from pipelines.sandbox.job import CallJob, Case, ScriptJob, StdinJob, TestJob
from pipelines.verifiers.python_source import defines, with_future_imports_first


class CodeTests(Protocol):
    """The tests of one problem."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the tests call in the program; empty where they run it whole."""
        ...

    @property
    def prompt(self) -> str:
        """The code that the program continues, "" if it stands alone."""
        ...

    def job(self, code: str) -> TestJob:
        """How this program is tested."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class HumanEvalTests:
    """HumanEval (arXiv:2107.03374): the test defines check(candidate), which is called with the entry point."""

    entry_point: str
    prompt: str
    """Imports, perhaps helpers, and the head of the function to complete, with its docstring."""
    test: str

    @property
    def names(self) -> tuple[str, ...]:
        """What the tests call in the program."""
        return (self.entry_point,)

    def job(self, code: str) -> ScriptJob:
        """The tests see the prompt's own helpers, not what the program made of them."""
        return ScriptJob(
            program=with_future_imports_first(self.prompt + code),
            setup=self.prompt,
            test=f"{self.test}\ncheck({self.entry_point})",
            names=self.names,
            packages=packages_in(self.test),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AssertTests:
    """MBPP (arXiv:2108.07732): assertions about functions that they call by name."""

    test_imports: tuple[str, ...]
    test_list: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name in the tests that neither they, nor their imports, nor Python define.

        Where that leaves none, the function asked for has the name of a built-in one (MBPP's task 126 wants a `sum`): what is called.
        """
        source = "\n".join((*self.test_imports, *self.test_list))
        return unbound_names(source) or called_names(source)

    @property
    def prompt(self) -> str:
        """The program stands alone."""
        return ""

    def job(self, code: str) -> ScriptJob:
        """The imports of the tests are there for the program too."""
        imports = "\n".join(self.test_imports)
        return ScriptJob(
            program=with_future_imports_first(f"{imports}\n{code}"),
            setup=imports,
            test="\n".join(self.test_list),
            names=tuple(name for name in self.names if not hasattr(builtins, name) or defines(code, name)),
            packages=packages_in("\n".join((*self.test_imports, *self.test_list))),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StdinTests:
    """LiveCodeBench (arXiv:2403.07974): the program reads standard input, and what it prints is compared."""

    cases: tuple[Case, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """None: the program runs whole."""
        return ()

    @property
    def prompt(self) -> str:
        """The program stands alone."""
        return ""

    def job(self, code: str) -> StdinJob:
        """With the imports that the benchmark gives to every program."""
        return StdinJob(program=with_future_imports_first(f"{PRELUDE}\n{code}"), cases=self.cases)


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionTests:
    """LiveCodeBench: a function, or a method of a class Solution, is called with JSON and returns JSON."""

    entry_point: str
    cases: tuple[Case, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Either will do."""
        return (HOLDER, self.entry_point)

    @property
    def prompt(self) -> str:
        """The program stands alone."""
        return ""

    def job(self, code: str) -> CallJob:
        """With the imports that the benchmark gives to every program. A program that defines a Solution is asked for its method."""
        return CallJob(
            program=with_future_imports_first(f"{PRELUDE}\n{code}"),
            holder=HOLDER if defines(code, HOLDER) else None,
            function=self.entry_point,
            cases=self.cases,
        )


HOLDER = "Solution"
"""LeetCode's name for the class."""


@lru_cache(maxsize=2)
def parse_tests(problem: Problem) -> CodeTests:
    """The tests of a problem; samples of one problem come one after the other, and tests can be megabytes. Raises InputError if its
    answer holds none."""
    try:
        answer = json.loads(problem.answer)
    except ValueError as error:
        raise bad_tests(problem, f"is not JSON ({error})") from error
    match answer:
        case {"entry_point": str(entry_point), "functional_tests": [_, *_] as cases}:
            check_identifier(problem, entry_point)
            return FunctionTests(entry_point=entry_point, cases=parse_cases(problem, cases))
        case {"stdin_tests": [_, *_] as cases}:
            return StdinTests(cases=parse_cases(problem, cases))
        case {"entry_point": str(entry_point), "prompt": str(prompt), "test": str(test)}:
            check_identifier(problem, entry_point)
            return HumanEvalTests(entry_point=entry_point, prompt=prompt, test=test)
        case {"test_list": [_, *_] as test_list}:
            tests = AssertTests(
                test_imports=strings(problem, "test_imports", answer.get("test_imports", [])),
                test_list=strings(problem, "test_list", test_list),
            )
            try:
                tests.names  # noqa: B018
            except SyntaxError as error:
                raise bad_tests(problem, f"has tests that are not Python ({error})") from error
            return tests
    raise bad_tests(problem, f"holds {', '.join(answer) if isinstance(answer, dict) else type(answer).__name__}")


def parse_cases(problem: Problem, cases: list[Any]) -> tuple[Case, ...]:
    """Cases, checked."""
    for number, case in enumerate(cases, start=1):
        match case:
            case {"input": str(), "output": str()}:
                continue
        raise bad_tests(problem, f"has a case {number} that is no input and output")
    return tuple(Case(case["input"], case["output"]) for case in cases)


def check_identifier(problem: Problem, entry_point: str) -> None:
    """Raise InputError if the function asked for cannot be one."""
    if not entry_point.isidentifier():
        raise bad_tests(problem, f"has an entry_point that is no name: {entry_point!r}")


def strings(problem: Problem, name: str, values: Any) -> tuple[str, ...]:
    """A list of strings, checked."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise bad_tests(problem, f"has a {name} that is no list of strings")
    return tuple(values)


def bad_tests(problem: Problem, what: str) -> InputError:
    """What to say of a problem that cannot be tested."""
    return InputError(
        f"problem {problem.problem_id}: the answer of a code problem must be a JSON object with entry_point, prompt and test, with "
        "test_imports and a test_list, with stdin_tests, or with entry_point and functional_tests, of which no list may be empty; "
        f"this one {what}."
    )


def packages_in(source: str) -> tuple[str, ...]:
    """Packages that tests import, of those they may."""
    return tuple(name for name in TEST_PACKAGES if re.search(rf"^\s*(?:import|from)\s+{name}\b", source, re.MULTILINE))


def unbound_names(source: str) -> tuple[str, ...]:
    """Names that a module reads but does not bind, built-ins aside, in alphabetical order. Raises SyntaxError."""
    read, bound = set(), set(vars(builtins))
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.alias():
                bound.add((node.asname or node.name).partition(".")[0])
    return tuple(sorted(read - bound))


def called_names(source: str) -> tuple[str, ...]:
    """Names that a module calls, in alphabetical order. Raises SyntaxError."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return tuple(sorted({call.func.id for call in calls if isinstance(call.func, ast.Name)}))
