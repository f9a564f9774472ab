"""Verifiers whose sandbox finds no process: for tests of what a run says of it."""

from pathlib import Path

from ray.actor import ActorHandle

from pipelines.problems.problem import Problem
from pipelines.sandbox.backends import Unsafe
from pipelines.sandbox.job import HONEST
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox
from pipelines.stages.score import VerifierActor
from pipelines.stages.verify import VerifySamples
from pipelines.verifiers.code import verdict_of
from pipelines.verifiers.code_extraction import Extraction
from pipelines.verifiers.settings import VerifierSettings
from pipelines.verifiers.verdict import Verdict


class Failing(Unsafe):
    """No process is to be had."""

    def command(self, limits: Limits) -> list[str]:
        return ["/bin/sh", "-c", "echo fork: Resource temporarily unavailable >&2; exit 254"]


class FailingScorer:
    """The code verifier in such a sandbox, whatever the answer is."""

    def __init__(self) -> None:
        self._sandbox = Sandbox(Failing(), Limits())

    def score(self, problem: Problem, text: str) -> Verdict:
        return verdict_of(self._sandbox.run(HONEST), Extraction(HONEST.program, "the whole text"))

    def close(self) -> None:
        self._sandbox.close()


class VerifyInAFailingSandbox(VerifySamples):
    """The stage of jobs.verify."""

    def __init__(self, settings: VerifierSettings, answers: str | Path, listeners: list[ActorHandle]) -> None:
        super().__init__(settings, answers, listeners)
        self._scorer = FailingScorer()


class VerifierOfAFailingSandbox(VerifierActor):
    """The actor of a run."""

    def __init__(self, settings: VerifierSettings, answers: str | Path) -> None:
        self._verifier = VerifyInAFailingSandbox(settings, answers, [])
