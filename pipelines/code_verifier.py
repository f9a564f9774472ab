"""The verifier of code problems: the program is taken from the text and examined by the problem's tests in a sandbox.

The reference answer of a code problem is a JSON object: HumanEval's {"entry_point", "prompt", "test"}, or MBPP's {"test_imports",
"test_list"}. The program is the last fenced code block that defines what the tests call, else the last fenced code block, else the whole
text, which is how a base model continues a prompt. HumanEval's prompt goes in front of it, so a body alone is a program too.

A program that is not Python is a parse error; one that runs and fails a test, raises or exits is wrong; both score 0.
"""

import ast
import builtins
import json
import re
from dataclasses import dataclass, field
from typing import Any

from pipelines.errors import InputError
from pipelines.problems import Problem
from pipelines.sandbox.choice import choose_sandbox
from pipelines.sandbox.exam import Exam, ExamResult, ExamStatus
from pipelines.sandbox.limits import Limits
from pipelines.verdict import Verdict, VerdictStatus, plain_verdict

FENCED_BLOCK = re.compile(
    r"^[ \t]*```[ \t]*(?P<language>[\w+.-]*)[^\n]*\n(?P<code>.*?)(?:^[ \t]*```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE
)
"""A block that is never closed ends with the text: the model was cut off."""
FUTURE_IMPORT = re.compile(r"^from __future__ import [\w, ]+$", re.MULTILINE)
PYTHON_LANGUAGES = ("python", "python3", "py", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeSettings:
    """How code is examined."""

    limits: Limits = field(default_factory=Limits)
    """What one sample may use."""
    allow_unsafe_execution: bool = False
    """Run programs with nothing but limits where no sandbox works: they can do all that this user can."""


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

    def exam(self, code: str) -> Exam:
        """The tests see the prompt's own helpers, not what the program made of them."""
        return Exam(
            program=with_future_imports_first(self.prompt + code),
            setup=self.prompt,
            test=f"{self.test}\ncheck({self.entry_point})",
            names=self.names,
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

    def exam(self, code: str) -> Exam:
        """The imports of the tests are there for the program too."""
        imports = "\n".join(self.test_imports)
        return Exam(
            program=with_future_imports_first(f"{imports}\n{code}"),
            setup=imports,
            test="\n".join(self.test_list),
            names=tuple(name for name in self.names if not hasattr(builtins, name) or defines(code, name)),
        )


CodeTests = HumanEvalTests | AssertTests


def parse_tests(problem: Problem) -> CodeTests:
    """The tests of a problem. Raises InputError if its answer holds none."""
    try:
        answer = json.loads(problem.answer)
    except ValueError as error:
        raise bad_tests(problem, f"is not JSON ({error})") from error
    match answer:
        case {"entry_point": str(entry_point), "prompt": str(prompt), "test": str(test)}:
            if not entry_point.isidentifier():
                raise bad_tests(problem, f"has an entry_point that is no name: {entry_point!r}")
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


def strings(problem: Problem, name: str, values: Any) -> tuple[str, ...]:
    """A list of strings, checked."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise bad_tests(problem, f"has a {name} that is no list of strings")
    return tuple(values)


def bad_tests(problem: Problem, what: str) -> InputError:
    """What to say of a problem that cannot be examined."""
    return InputError(
        f"problem {problem.problem_id}: the answer of a code problem must be a JSON object with entry_point, prompt and test, or with "
        f"test_imports and a test_list that is not empty; this one {what}."
    )


def with_future_imports_first(source: str) -> str:
    """The source with `from __future__` at its top, where Python wants it: models that write whole files put it behind the prompt."""
    imports = FUTURE_IMPORT.findall(source)
    return "".join(f"{line}\n" for line in imports) + FUTURE_IMPORT.sub("", source)


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


def extract_code(text: str, names: tuple[str, ...]) -> str:
    """The program in a model's text, "" if there is none; `names` are what the tests call."""
    blocks = [match["code"] for match in FENCED_BLOCK.finditer(text) if match["language"].lower() in PYTHON_LANGUAGES]
    if not blocks:
        return text if text.strip() else ""
    defining = [block for block in blocks if any(defines(block, name) for name in names)]
    return (defining or blocks)[-1]


def defines(code: str, name: str) -> bool:
    """Whether code binds the name at its top level, by the look of it: it need not compile."""
    return (
        re.search(rf"^(?:(?:async\s+)?def|class)\s+{re.escape(name)}\b|^{re.escape(name)}\s*[:=]", code, re.MULTILINE)
        is not None
    )


class CodeScorer:
    """Examines one answer after the other, each in a sandbox of its own. Any thread may call `score`, several at once."""

    def __init__(self, settings: CodeSettings) -> None:
        """Proves the sandbox on this machine first. Raises RunError if none works and unsafe execution was not allowed."""
        self._sandbox = choose_sandbox(settings.limits, allow_unsafe_execution=settings.allow_unsafe_execution)

    @property
    def level(self) -> str:
        """The sandbox's level: bubblewrap, landlock or unsafe."""
        return self._sandbox.level.name

    def score(self, problem: Problem, text: str) -> Verdict:
        """The verdict on one answer. Raises InputError if the problem holds no tests, and nothing for what the answer holds."""
        tests = parse_tests(problem)
        code = extract_code(text, tests.names)
        if not code.strip():
            return plain_verdict(VerdictStatus.NO_ANSWER, detail="there is no code in the text")
        return verdict_of(self._sandbox.run(tests.exam(code)), code)

    def close(self) -> None:
        """Nothing outlives a call of `score`: there is nothing to end."""


STATUS_OF = {
    ExamStatus.PASSED: VerdictStatus.CORRECT,
    ExamStatus.FAILED: VerdictStatus.WRONG,
    ExamStatus.UNREADABLE: VerdictStatus.PARSE_ERROR,
    ExamStatus.TIMEOUT: VerdictStatus.TIMEOUT,
    ExamStatus.OUT_OF_MEMORY: VerdictStatus.OUT_OF_MEMORY,
    ExamStatus.TESTS_BROKEN: VerdictStatus.ERROR,
    ExamStatus.SANDBOX_FAILED: VerdictStatus.SANDBOX_ERROR,
}


def verdict_of(result: ExamResult, code: str) -> Verdict:
    """An exam's result as a verdict."""
    detail = f"tests: {result.detail}" if result.status is ExamStatus.TESTS_BROKEN else result.detail
    return plain_verdict(STATUS_OF[result.status], code, detail)
