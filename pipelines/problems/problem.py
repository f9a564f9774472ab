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
    digest = hashlib.sha256(b"[")
    for number, problem in enumerate(problems):  # one at a time: answers may be megabytes
        digest.update((", " if number else "").encode() + json.dumps(asdict(problem), sort_keys=True).encode())
    digest.update(b"]")
    return digest.hexdigest()[:12]
