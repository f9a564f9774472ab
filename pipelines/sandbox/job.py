"""What is run for one sample, and what comes back."""

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, kw_only=True, slots=True)
class ScriptJob:
    """One program and a script that tests it. They run in two processes: see docs/sandbox.md."""

    program: str
    """Source of the program, whole. Nothing of it is trusted."""
    setup: str = ""
    """Source that the tests need first: imports, helpers that the problem itself defines. Trusted, as the tests are."""
    test: str
    """Source of the tests. Passed if its last line is reached without an exception."""
    names: tuple[str, ...] = ()
    """What the tests call by name in the program; nothing else of the program is seen by them."""
    packages: tuple[str, ...] = ()
    """Packages that the tests import beside the standard library: of backends.TEST_PACKAGES. The program cannot import them."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a contest problem."""

    input: str
    output: str
    """What the program must print or, as JSON, return. The program's process never has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StdinJob:
    """A program that reads standard input and prints: run anew for each case, in a process of its own. Passed if every case is."""

    program: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallJob:
    """A function, or a method of a class, called once per case; a case's input has one argument per line, as JSON."""

    program: str
    holder: str | None
    """The class to make an instance of, once; None where the function stands by itself."""
    function: str
    cases: tuple[Case, ...]


TestJob = ScriptJob | StdinJob | CallJob


class JobStatus(StrEnum):
    """Every test job ends in exactly one of these."""

    PASSED = "passed"
    FAILED = "failed"
    """A test failed, or the program raised an exception or ended."""
    UNREADABLE = "unreadable"
    """The program is no Python."""
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    TESTS_BROKEN = "tests_broken"
    """The tests do not compile, or their setup fails."""
    UNDECIDED = "undecided"
    """The verdict depends on a value that cannot cross between the processes, or on what only the program could say of its own values."""
    SANDBOX_FAILED = "sandbox_failed"
    """The grader did not start, or ended without a verdict."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a test job ended."""

    status: JobStatus
    detail: str = ""
    """Why, in a line: the exception, and the line of the tests it came from."""
    busy_share: float = field(default=1.0, compare=False)
    """Processor time of program and tests, over the time that passed."""


HONEST = ScriptJob(program="def double(x): return 2 * x", test="assert double(21) == 42", names=("double",))
"""A job that passes wherever the sandbox works."""
