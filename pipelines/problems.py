"""A problem, as every stage of the pipeline knows it."""

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: what is asked, and the reference answer that a verifier compares with."""

    problem_id: str
    text: str
    answer: str
    """Empty where the verifier needs none; JSON where it is more than a string or a number, such as the tests of a code problem."""


def data_fingerprint(problems: list[Problem]) -> str:
    """Short sha256 of ids, texts and answers, in their order."""
    text = json.dumps([asdict(problem) for problem in problems], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
