"""Countdown: the steps of an answer must hold and reach the target."""

from pipelines.problems.countdown import CountdownProblem, verify_answer
from pipelines.problems.problem import Problem
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict


def verify_countdown(text: str, problem: Problem) -> Verdict:
    """Exact. Raises ValueError if the problem is no Countdown problem."""
    result = verify_answer(CountdownProblem.from_prompt(problem.text), text)
    return plain_verdict(VerdictStatus(result.status), result.extracted, result.detail)
