"""What a verifier says of one answer."""

from dataclasses import dataclass
from enum import StrEnum


class VerdictStatus(StrEnum):
    """Every answer ends in exactly one of these."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    """The text commits to no answer."""
    PARSE_ERROR = "parse_error"
    """There is an answer, but it cannot be read."""
    TIMEOUT = "timeout"
    """The verifier took longer than verifier_timeout_s and was killed."""
    OUT_OF_MEMORY = "out_of_memory"
    """The verifier hit its memory limit."""
    SANDBOX_ERROR = "sandbox_error"
    """The verifier's process died."""
    ERROR = "error"
    """The verifier itself failed, or there is no answer to score because generation failed."""
    UNVERIFIED = "unverified"
    """Nobody was asked: the run has no verifier, and pass@k is undefined."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Status and score of one answer."""

    status: VerdictStatus
    score: float
    """1 for a correct answer and 0 otherwise; a user's verifier or a judge may give anything in between. NaN where nobody was asked."""
    extracted: str = ""
    """What was taken for the answer."""
    detail: str = ""
    """Why, in a few words."""
    rule: str = ""
    """How that was found in the text, where a verifier has more than one way: see pipelines/verifiers/reply_shapes.py."""


def plain_verdict(status: VerdictStatus, extracted: str = "", detail: str = "", *, rule: str = "") -> Verdict:
    """A verdict whose score follows from its status."""
    return Verdict(status, float(status is VerdictStatus.CORRECT), extracted, detail, rule)
