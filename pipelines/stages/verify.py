"""Verification: every sample gets a verdict. A CPU stage of the pipeline.

    table of samples -> VerifySamples (a Ray actor) -> Scorer -> the same rows with a verdict

Verifiers that are known to be quick run in the actor itself. The others (math-verify, a user's own) run in a child process that is
killed when its time is up: signals do not reach a thread, and a hung verifier would stop the whole run.
"""

import logging
import math
import multiprocessing
import resource
import signal
import time
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from pebble import ProcessExpired, ProcessPool
from ray.actor import ActorHandle

from pipelines.config.run import RunConfig
from pipelines.problems.problem import Problem
from pipelines.runs.finished_sample import finished_sample
from pipelines.runs.reference_answers import Answers
from pipelines.runs.schema import STORED_SCHEMA
from pipelines.verifiers.judge import JudgeScorer, JudgeSettings
from pipelines.verifiers.registry import BUILT_IN, load_verifier
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict

logger = logging.getLogger(__name__)

QUICK = ("countdown", "exact", "choice")
"""Verifiers whose time and memory are bounded by the length of the text."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierSettings:
    """What a scorer needs to start, in an actor elsewhere."""

    name: str
    """countdown, math, exact, choice, code, judge, none, or module:function."""
    timeout_s: float
    judge: JudgeSettings | None = None
    """For the verifier judge."""
    allow_unsafe_execution: bool = False
    """For the verifier code: run without a sandbox where there is none."""

    def check(self) -> str:
        """What the user shall know of where answers are scored; "" if nothing.

        Raises InputError if the verifier cannot be found, the judge's key not be read, or no sandbox works on this machine.
        """
        if self.name in BUILT_IN or ":" in self.name:
            load_verifier(self.path)
        if self.judge is not None:
            self.judge.api_key()
        if self.name == "code":
            from pipelines.sandbox.choice import choose_backend

            return choose_backend(allow_unsafe_execution=self.allow_unsafe_execution).line
        return ""

    def build(self) -> Scorer:
        """The scorer for this verifier."""
        if self.name == "none":
            return NoScorer()
        if self.name == "judge":
            assert self.judge is not None, "RunConfig checks that a judge has a URL and a model"
            return JudgeScorer(self.judge, timeout_s=self.timeout_s)
        if self.name == "code":
            # Imported late: the sandbox tests itself on this machine, which only code needs.
            from pipelines.sandbox.limits import Limits
            from pipelines.verifiers.code import CodeScorer, CodeSettings

            limits = Limits(timeout_s=self.timeout_s)
            code: Scorer = CodeScorer(CodeSettings(limits=limits, allow_unsafe_execution=self.allow_unsafe_execution))
            return code
        if self.name in QUICK:
            return InProcessScorer(self.path)
        return ChildScorer(self.path, timeout_s=self.timeout_s)

    @property
    def path(self) -> str:
        """The verifier's function, as module:function."""
        return BUILT_IN.get(self.name, self.name)


def verifier_settings(config: RunConfig) -> VerifierSettings:
    """The settings of a run's verifier."""
    judge = None
    if config.verifier_name == "judge" and config.judge_url and config.judge_model:
        judge = JudgeSettings(url=config.judge_url, model=config.judge_model, key_variable=config.judge_key_variable)
    return VerifierSettings(
        name=config.verifier_name,
        timeout_s=config.verdict_timeout_s,
        judge=judge,
        allow_unsafe_execution=config.allow_unsafe_execution,
    )


class NoScorer:
    """For runs without a verifier: says of every sample that nobody looked at it."""

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
        # The named boundary: one verifier call. Its failure is this sample's verdict, not the run's end.
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


class VerifySamples:
    """Ray Data's callable of this stage: rows with their verdicts; tells its listeners, Progress and others, what was done."""

    def __init__(self, settings: VerifierSettings, answers: str | Path, listeners: list[ActorHandle]) -> None:
        """`answers`: path or URL of the run's file of them."""
        self._answers = Answers(answers)
        self._scorer = settings.build()
        self._listeners = listeners

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Score every row that holds an answer."""
        rows = batch.to_pylist()
        for row in rows:
            started = time.perf_counter()
            verdict = self._verdict(row)
            row |= {
                "status": verdict.status.value,
                "score": verdict.score,
                "extracted": verdict.extracted,
                "detail": verdict.detail,
                "extraction_rule": verdict.rule,
                "verdict_ms": 1000 * (time.perf_counter() - started),
            }
        for listener in self._listeners:
            listener.add.remote([finished_sample(row) for row in rows])
        return pa.Table.from_pylist(rows, schema=STORED_SCHEMA)

    def _verdict(self, row: dict[str, Any]) -> Verdict:
        if row["error"] is not None:
            return plain_verdict(VerdictStatus.ERROR, detail="no answer: generation failed")
        return self._scorer.score(
            Problem(row["problem_id"], row["problem"], self._answers[row["problem_id"]]), row["text"]
        )
