"""Scorers run a verifier and never raise for what an answer holds. Neither Ray nor an engine is needed.

Verifiers whose time is bounded run right here. The others (math-verify, a user's own) run in a child process that is killed when its time
is up: signals do not reach a thread, and a hung verifier would stop the whole run.
"""

import logging
import math
import multiprocessing
import resource
import signal
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Protocol, Self

from pebble import ProcessExpired, ProcessPool

from pipelines.problems.problem import Problem
from pipelines.verifiers.registry import RunsIn, load, load_verifier
from pipelines.verifiers.settings import VerifierSettings
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict

logger = logging.getLogger(__name__)

CHILD_MEMORY_GIB = 4
"""Address space of a verifier's child: sympy can ask for all there is to expand one power."""


class Scorer(Protocol):
    """Runs a verifier; never raises for what an answer holds."""

    def score(self, problem: Problem, text: str) -> Verdict:
        """The verdict on one answer."""
        ...

    def close(self) -> None:
        """End what was started for it."""
        ...


class ScorerClass(Protocol):
    """A verifier that runs in a scorer of its own: what its entry in the registry names."""

    def from_settings(self, settings: VerifierSettings) -> Scorer:
        """The scorer. Raises InputError if it cannot work here."""
        ...

    def check(self, settings: VerifierSettings) -> str:
        """What the user must know of where answers are scored, "" if nothing. Raises InputError if that cannot be this machine."""
        ...


def check_verifier(settings: VerifierSettings) -> str:
    """What the user must know of where answers are scored, "" if nothing.

    Raises InputError if the verifier cannot be found, or says that it cannot work on this machine.
    """
    found = load(settings.entry.path)
    if settings.entry.runs_in is not RunsIn.ITSELF:
        return ""
    scorer_class: ScorerClass = found
    return scorer_class.check(settings)


def start_scorer(settings: VerifierSettings) -> Scorer:
    """The scorer of a verifier."""
    entry = settings.entry
    match entry.runs_in:
        case RunsIn.ACTOR:
            return InProcessScorer(entry.path)
        case RunsIn.CHILD:
            return ChildScorer(entry.path, timeout_s=settings.timeout_s)
        case RunsIn.ITSELF:
            scorer_class: ScorerClass = load(entry.path)
            return scorer_class.from_settings(settings)


class NoScorer:
    """For runs without a verifier: says of every sample that nobody looked at it."""

    @classmethod
    def from_settings(cls, settings: VerifierSettings) -> Self:
        return cls()

    @staticmethod
    def check(settings: VerifierSettings) -> str:
        return ""

    def score(self, problem: Problem, text: str) -> Verdict:
        return Verdict(VerdictStatus.UNVERIFIED, math.nan)

    def close(self) -> None:
        """Nothing was started."""


class InProcessScorer:
    """Runs a verifier right here."""

    def __init__(self, path: str) -> None:
        load_verifier(path)
        self._path = path

    def score(self, problem: Problem, text: str) -> Verdict:
        return run_verifier(self._path, problem, text)

    def close(self) -> None:
        """Nothing was started."""


class ChildScorer:
    """Runs a verifier in one child process, which is killed and replaced if it takes too long or too much memory."""

    def __init__(self, path: str, *, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        # A fork of this process would copy Ray's threads in mid-air: the child is started afresh, and forks from there.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["math_verify", __name__])
        self._pool = ProcessPool(
            max_workers=1, initializer=prepare_child, initargs=(path, CHILD_MEMORY_GIB), context=context
        )

    def score(self, problem: Problem, text: str) -> Verdict:
        """The verdict; a child that was killed or died gives its own status, and the next answer gets a new child."""
        future = self._pool.schedule(run_verifier, args=[self._path, problem, text], timeout=self._timeout_s)
        try:
            verdict: Verdict = future.result()
        except FutureTimeout:
            return plain_verdict(VerdictStatus.TIMEOUT, detail=f"killed after {self._timeout_s:g} s")
        except ProcessExpired as error:
            if error.exitcode == -signal.SIGKILL:
                return plain_verdict(
                    VerdictStatus.OUT_OF_MEMORY, detail="killed by the kernel, most likely for its memory"
                )
            return plain_verdict(
                VerdictStatus.SANDBOX_ERROR, detail=f"the verifier's process ended with {error.exitcode}"
            )
        return verdict

    def close(self) -> None:
        """End the child."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()


def prepare_child(path: str, memory_gib: int) -> None:
    """Import the verifier before its first call, so that its time limit does not pay for that; then bound the memory."""
    load_verifier(path)
    resource.setrlimit(resource.RLIMIT_AS, (memory_gib * 2**30, memory_gib * 2**30))


def run_verifier(path: str, problem: Problem, text: str) -> Verdict:
    """Call a verifier; what it raises becomes a verdict."""
    try:
        result = load_verifier(path)(text, problem)
        return result if isinstance(result, Verdict) else verdict_of(result)
    except MemoryError:
        return plain_verdict(VerdictStatus.OUT_OF_MEMORY, detail=f"more than {CHILD_MEMORY_GIB} GiB")
    except Exception as error:
        # The error boundary: one verifier call. Its failure is this sample's verdict, not the run's end.
        logger.exception("verifier %s failed on problem %s", path, problem.problem_id)
        return plain_verdict(VerdictStatus.ERROR, detail=f"{type(error).__name__}: {error}")


def verdict_of(result: bool | float) -> Verdict:
    """A verdict from what a user's verifier may return. Raises TypeError or ValueError for anything else."""
    if not isinstance(result, bool | float | int):
        raise TypeError(f"a verifier must return a Verdict, a bool or a number; got {type(result).__name__}")
    score = float(result)
    if not math.isfinite(score):
        raise ValueError(f"a score must be finite; got {score}")
    return Verdict(VerdictStatus.CORRECT if score >= 1 else VerdictStatus.WRONG, score)
