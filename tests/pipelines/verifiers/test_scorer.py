"""Verdicts: right and wrong answers, and verifiers that hang, eat the memory, die or fail."""

import os
import time
from collections.abc import Iterator
from math import isnan

import pytest

from pipelines.errors import InputError
from pipelines.problems.problem import Problem
from pipelines.verifiers.countdown import verify_countdown
from pipelines.verifiers.registry import VERIFIERS, load_verifier
from pipelines.verifiers.scorer import ChildScorer, start_scorer
from pipelines.verifiers.settings import VerifierSettings
from pipelines.verifiers.verdict import Verdict, VerdictStatus

COUNTDOWN = Problem("p", "3 7 19 25=84:", "84")


@pytest.mark.parametrize(
    ("text", "status", "score"),
    [
        ("25-19=6,3*6=18,18+7=25", "wrong", 0.0),
        ("25-7=18,18*3=54", "wrong", 0.0),
        ("x", "parse_error", 0.0),
        ("", "no_answer", 0.0),
    ],
)
def test_countdown(text: str, status: str, score: float) -> None:
    verdict = verify_countdown(text, COUNTDOWN)
    assert (verdict.status, verdict.score) == (status, score)


def test_a_countdown_answer_that_reaches_the_target_is_correct() -> None:
    assert verify_countdown("19+25=44", Problem("p", "3 7 19 25=44:", "44")) == Verdict(
        VerdictStatus.CORRECT, 1.0, "44"
    )


@pytest.fixture(scope="module")
def math() -> Iterator[ChildScorer]:
    scorer = ChildScorer(VERIFIERS["math"].path, timeout_s=20.0)
    yield scorer
    scorer.close()


@pytest.mark.parametrize(
    ("answer", "text", "status"),
    [
        ("\\frac{1}{2}", "Thus $\\boxed{0.5}$.", "correct"),
        ("x^2+1", "It is $1 + x^2$", "correct"),
        ("Natalia sold 48/2=24 and then ... #### 72", "The answer is 72.", "correct"),
        ("The result is $\\boxed{3\\pi}$.", "\\boxed{3 \\pi}", "correct"),
        ("(3, \\pi/2)", "\\boxed{(3, \\pi)}", "wrong"),
        ("4", "I do not know", "no_answer"),
        ("", "4", "error"),
    ],
)
def test_math(math: ChildScorer, answer: str, text: str, status: str) -> None:
    """Off the main thread math-verify's own time limit scores every answer wrong; so right answers are in this test."""
    assert math.score(Problem("p", "?", answer), text).status == status


def sleeps(text: str, problem: Problem) -> bool:
    time.sleep(60)
    return True


def eats_memory(text: str, problem: Problem) -> bool:
    return len(bytearray(64 * 2**30)) > 0


def dies(text: str, problem: Problem) -> bool:
    os._exit(3)


def raises(text: str, problem: Problem) -> bool:
    raise KeyError("gold")


def half_right(text: str, problem: Problem) -> float:
    return 0.5


def same_text(text: str, problem: Problem) -> bool:
    return problem.answer == text


def says_maybe(text: str, problem: Problem) -> str:
    return "maybe"


@pytest.mark.parametrize(
    ("verifier", "status", "score"),
    [
        (sleeps, "timeout", 0.0),
        (eats_memory, "out_of_memory", 0.0),
        (dies, "sandbox_error", 0.0),
        (raises, "error", 0.0),
        (half_right, "wrong", 0.5),
        (same_text, "correct", 1.0),
        (says_maybe, "error", 0.0),
    ],
)
def test_a_verifier_of_ones_own_cannot_stop_the_run(verifier, status: str, score: float) -> None:  # type: ignore[no-untyped-def]
    scorer = ChildScorer(f"{__name__}:{verifier.__name__}", timeout_s=2.0)
    verdicts = [scorer.score(Problem("p", "?", "4"), "4") for _ in range(2)]
    scorer.close()
    assert [(verdict.status, verdict.score) for verdict in verdicts] == [(status, score)] * 2


def test_the_time_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = ChildScorer(f"{__name__}:sleeps", timeout_s=1.0)
    started = time.monotonic()
    assert scorer.score(Problem("p", "?", "4"), "4").detail == "killed after 1 s"
    scorer.close()
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("path", "message"), [("no_such_module:f", "cannot be imported"), ("math:no_such_function", "has no function")]
)
def test_a_verifier_that_is_not_there_is_refused(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_verifier(path)


@pytest.mark.parametrize("name", ["countdown", "exact", "choice", "none"])
def test_quick_verifiers_need_no_child(name: str) -> None:
    assert not isinstance(start_scorer(VerifierSettings(name=name, timeout_s=1.0)), ChildScorer)


def test_without_a_verifier_a_sample_is_neither_right_nor_wrong() -> None:
    verdict = start_scorer(VerifierSettings(name="none", timeout_s=1.0)).score(COUNTDOWN, "19+25=44")
    assert verdict.status == "unverified"
    assert isnan(verdict.score)
