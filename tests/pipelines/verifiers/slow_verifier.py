"""A verifier of a user's own that takes its time, so that a test finds it at work."""

import time

from pipelines.problems.problem import Problem


def verify(text: str, problem: Problem) -> bool:
    """True for the answer itself."""
    time.sleep(0.2)
    return text == problem.answer
