"""The verifier of code problems: the program is taken from the text (code_extraction.py) and tested by the problem's tests
(code_tests.py) in a sandbox.

HumanEval's prompt goes in front of the program, so a body alone is a program too. A program that is not Python is a parse error; one
that runs and fails a test, raises or exits is wrong; both score 0.
"""

from dataclasses import dataclass, field
from typing import Self

from pipelines.problems.problem import Problem
from pipelines.sandbox.choice import choose_backend, choose_sandbox
from pipelines.sandbox.job import JobResult, JobStatus
from pipelines.sandbox.limits import Limits
from pipelines.verifiers.code_extraction import Extraction, extract_program
from pipelines.verifiers.code_tests import parse_tests
from pipelines.verifiers.settings import VerifierSettings
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeSettings:
    """How code is tested."""

    limits: Limits = field(default_factory=Limits)
    """What one sample may use."""
    allow_unsafe_execution: bool = False
    """Run programs with nothing but limits where no sandbox works: they can do all that this user can."""


class CodeScorer:
    """Tests one answer after the other, each in a sandbox of its own. Any thread may call `score`, several at once."""

    def __init__(self, settings: CodeSettings) -> None:
        """Tests the sandbox on this machine first. Raises InputError if none works and unsafe execution was not allowed."""
        self._sandbox = choose_sandbox(settings.limits, allow_unsafe_execution=settings.allow_unsafe_execution)

    @classmethod
    def from_settings(cls, settings: VerifierSettings) -> Self:
        """The scorer of a run. Raises InputError as the constructor does."""
        limits = Limits(timeout_s=settings.timeout_s)
        return cls(CodeSettings(limits=limits, allow_unsafe_execution=settings.allow_unsafe_execution))

    @staticmethod
    def check(settings: VerifierSettings) -> str:
        """Which isolation backend this machine has, in a line. Raises InputError if none works and unsafe execution was not allowed."""
        return choose_backend(allow_unsafe_execution=settings.allow_unsafe_execution).line

    @property
    def backend(self) -> str:
        """The sandbox's backend: bubblewrap, landlock or unsafe."""
        return self._sandbox.backend.name

    def score(self, problem: Problem, text: str) -> Verdict:
        """The verdict on one answer. Raises InputError if the problem holds no tests, and nothing for what the answer holds."""
        tests = parse_tests(problem)
        found = extract_program(text, tests.names, tests.prompt)
        if not found.program:
            return plain_verdict(VerdictStatus.NO_ANSWER, detail="there is no code in the text")
        return verdict_of(self._sandbox.run(tests.job(found.program)), found)

    def close(self) -> None:
        """End the sandbox's own process."""
        self._sandbox.close()


STATUS_OF = {
    JobStatus.PASSED: VerdictStatus.CORRECT,
    JobStatus.FAILED: VerdictStatus.WRONG,
    JobStatus.UNREADABLE: VerdictStatus.PARSE_ERROR,
    JobStatus.TIMEOUT: VerdictStatus.TIMEOUT,
    JobStatus.OUT_OF_MEMORY: VerdictStatus.OUT_OF_MEMORY,
    JobStatus.TESTS_BROKEN: VerdictStatus.ERROR,
    JobStatus.UNDECIDED: VerdictStatus.ERROR,
    JobStatus.SANDBOX_FAILED: VerdictStatus.SANDBOX_ERROR,
}


def verdict_of(result: JobResult, found: Extraction) -> Verdict:
    """A test job's result as a verdict."""
    detail = f"tests: {result.detail}" if result.status is JobStatus.TESTS_BROKEN else result.detail
    return plain_verdict(STATUS_OF[result.status], found.program, detail, rule=found.rule)
