"""A judge: a model behind an OpenAI-compatible API that gives an answer a score. A reward model that replies with a number is one too.

    --verifier judge --judge-url http://localhost:8000/v1 --judge-model Qwen/Qwen2.5-72B-Instruct

The judge is shown the problem, the reference answer where there is one, and the answer; it must end its reply with a score from 0 to 1.
"""

import logging
import re
from typing import Self

from pipelines.problems.problem import Problem
from pipelines.verifiers.settings import JudgeSettings, VerifierSettings
from pipelines.verifiers.verdict import Verdict, VerdictStatus, plain_verdict

logger = logging.getLogger(__name__)

RETRIES = 2
"""Of a request that timed out or that the server was too busy for; the client waits in between."""
MAX_REPLY_TOKENS = 4096

INSTRUCTION = """Judge whether the response below answers the problem correctly. Do not solve the problem anew where a reference answer is \
given: compare the response's final answer with it. A response without a final answer is not correct.

Problem:
{problem}

Reference answer:
{reference}

Response:
{response}

Explain in a sentence or two. Then end with a line of the form 'Score: X' (without quotes), where X is a number from 0 (not correct) to \
1 (correct)."""

SCORE = re.compile(r"(?i:score)\W*([01](?:\.[0-9]+)?)(?![0-9.])")
LONE_NUMBER = re.compile(r"\s*([01](?:\.[0-9]+)?)\s*")


class JudgeScorer:
    """Asks the judge; one request at a time, so give a run more --verifiers to ask more at once."""

    def __init__(self, settings: JudgeSettings, *, timeout_s: float) -> None:
        # Imported late, here and below: openai takes a second that no other verifier need wait for.
        from openai import OpenAI

        self._settings = settings
        self._timeout_s = timeout_s
        self._client = OpenAI(base_url=settings.url, api_key=settings.api_key(), timeout=timeout_s, max_retries=RETRIES)

    @classmethod
    def from_settings(cls, settings: VerifierSettings) -> Self:
        """The scorer. Raises InputError if the judge's key cannot be read."""
        assert settings.judge is not None, "RunConfig checks that a judge has a URL and a model"
        return cls(settings.judge, timeout_s=settings.timeout_s)

    @staticmethod
    def check(settings: VerifierSettings) -> str:
        """Raises InputError if the judge's key cannot be read."""
        assert settings.judge is not None, "RunConfig checks that a judge has a URL and a model"
        settings.judge.api_key()
        return ""

    def score(self, problem: Problem, text: str) -> Verdict:
        """The judge's verdict; a judge that cannot be reached or understood gives a timeout or an error, never a wrong answer."""
        from openai import APITimeoutError, OpenAIError

        try:
            reply = self._ask(problem, text)
        except APITimeoutError:
            return plain_verdict(
                VerdictStatus.TIMEOUT,
                detail=f"the judge did not reply to {RETRIES + 1} requests of {self._timeout_s:g} s",
            )
        except OpenAIError as error:
            # Error boundary: one request. The judge's failure is this sample's verdict, not the run's end.
            logger.exception("the judge failed on problem %s", problem.problem_id)
            return plain_verdict(VerdictStatus.ERROR, detail=f"the judge failed: {type(error).__name__}: {error}")
        score = score_in(reply)
        if score is None:
            return plain_verdict(VerdictStatus.ERROR, detail=f"the judge gave no score from 0 to 1: {reply[-200:]!r}")
        status = VerdictStatus.CORRECT if score == 1 else VerdictStatus.WRONG
        return Verdict(status, score, detail=reply[-200:].strip())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, problem: Problem, text: str) -> str:
        completion = self._client.chat.completions.create(
            model=self._settings.model,
            messages=[{"role": "user", "content": judge_prompt(problem, text)}],
            temperature=0,
            max_tokens=MAX_REPLY_TOKENS,
        )
        return (completion.choices[0].message.content or "") if completion.choices else ""


def judge_prompt(problem: Problem, text: str) -> str:
    """What the judge is asked. Filled in one pass: braces in a problem or an answer stay as they are."""
    parts = {"problem": problem.text, "reference": problem.answer or "(none is known)", "response": text}
    return re.sub(r"\{(problem|reference|response)\}", lambda match: parts[match[1]], INSTRUCTION)


def score_in(reply: str) -> float | None:
    """The last "Score: X" of a reply, or a reply that is a number; None if there is no number from 0 to 1."""
    scores = SCORE.findall(reply)
    lone = LONE_NUMBER.fullmatch(reply)
    found = scores[-1] if scores else lone[1] if lone else None
    return float(found) if found is not None and float(found) <= 1 else None
