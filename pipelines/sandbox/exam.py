"""What is run for one sample, and what comes back."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, kw_only=True, slots=True)
class Exam:
    """One program and its tests. They run in two processes: see docs/sandbox.md."""

    program: str
    """Source of the program, whole. Nothing of it is trusted."""
    setup: str = ""
    """Source that the tests need first: imports, helpers that the problem itself defines. Trusted, as the tests are."""
    test: str
    """Source of the tests. Passed if its last line is reached without an exception."""
    names: tuple[str, ...] = ()
    """What the tests call by name in the program; nothing else of the program is seen by them."""


class ExamStatus(StrEnum):
    """Every exam ends in exactly one of these."""

    PASSED = "passed"
    FAILED = "failed"
    """A test failed, or the program raised an exception or ended."""
    UNREADABLE = "unreadable"
    """The program is no Python."""
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    TESTS_BROKEN = "tests_broken"
    """The tests do not compile, their setup fails, or they need what cannot cross between the processes."""
    SANDBOX_FAILED = "sandbox_failed"
    """The grader did not start, or ended without a verdict."""


@dataclass(frozen=True, slots=True)
class ExamResult:
    """How an exam ended."""

    status: ExamStatus
    detail: str = ""
    """Why, in a line: the exception, and the line of the tests it came from."""
