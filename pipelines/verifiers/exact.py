"""Exact: the final answer is the reference."""

from pipelines.problems.problem import Problem
from pipelines.verifiers.final_answer import final_answer, normalised
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict


def verify_exact(text: str, problem: Problem) -> Verdict:
    """The final answer equals the reference, letter case, spaces, markup and a closing full stop aside."""
    extracted = final_answer(text)
    if not extracted:
        return plain_verdict(VerdictStatus.NO_ANSWER, detail="the text commits to no answer")
    is_correct = normalised(extracted) == normalised(final_answer(problem.answer))
    return plain_verdict(VerdictStatus.CORRECT if is_correct else VerdictStatus.WRONG, extracted)
