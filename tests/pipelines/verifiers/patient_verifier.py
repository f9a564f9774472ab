"""A verifier that takes its time, for a test that stops it: an answer is correct if it is the reference."""

import time

from pipelines.problems.problem import Problem


def verify(text: str, problem: Problem) -> bool:
    time.sleep(0.5)
    return text == problem.answer


def verify_all_wrong(text: str, problem: Problem) -> bool:
    return False
