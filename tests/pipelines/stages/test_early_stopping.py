"""Where problems stop: in launch order, whatever comes first; and what that does for the estimates."""

import heapq
from itertools import permutations

import numpy as np
import pytest

from pipelines.runs.early_stopping import Stop, StoppingTracker, stops_of
from pipelines.runs.finished_sample import FinishedSample
from pipelines.stages.early_stopping import StoppingActor
from pipelines.statistics.adaptive import adaptive_curve
from pipelines.statistics.stopping_rule import StoppingRule

RULE = StoppingRule(successes=1, give_up_after=3, limit=6)


def finished(index: int, *, is_correct: bool = False, is_generated: bool = True) -> FinishedSample:
    return FinishedSample(
        problem_id="p",
        sample_index=index,
        num_tokens=1,
        is_correct=is_correct,
        is_error=not is_generated,
        is_generated=is_generated,
    )


def test_a_success_stops_nothing_before_its_elders_are_known() -> None:
    board = StoppingTracker(RULE)
    assert not board.record("p", 1, True) and not board.has_stopped("p")
    assert board.record("p", 0, False)
    assert board.stops() == {"p": Stop(samples=2, correct=1)}
    assert not board.record("p", 2, True), "a problem stops once"


@pytest.mark.parametrize("verdicts", [(0, 0, 0, 1), (0, 1, 1, 0), (1, 0, 0, 0)])
def test_the_order_of_arrival_changes_nothing(verdicts: tuple[int, ...]) -> None:
    in_order = stops_of([finished(i, is_correct=bool(v)) for i, v in enumerate(verdicts)], RULE)
    for arrival in permutations(range(4)):
        assert stops_of([finished(i, is_correct=bool(verdicts[i])) for i in arrival], RULE) == in_order


def test_a_sample_heard_of_again_changes_nothing() -> None:
    board = StoppingTracker(RULE)
    for index in (0, 0, 2, 2, 0):
        assert not board.record("p", index, False)
    assert board.record("p", 1, False)
    assert board.stops() == {"p": Stop(samples=3, correct=0)}


class Heard:
    """Stands for an actor handle: remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.cancel = self.stop = self
        self.remote = self.told.append


def test_a_stop_cancels_the_problem_once() -> None:
    router, progress = Heard(), Heard()
    actor = StoppingActor(RULE, [finished(0)], router, progress)  # type: ignore[arg-type]
    actor.add([finished(2, is_correct=True)])
    assert progress.told == [] and not actor.has_stopped("p")
    actor.add([finished(1), finished(3, is_correct=True)])
    assert [heard.told for heard in (router, progress)] == [["p"], ["p"]]
    assert actor.has_stopped("p")


def test_a_sample_that_could_not_be_drawn_leaves_a_gap_until_it_is() -> None:
    actor = StoppingActor(RULE, [], Heard(), Heard())  # type: ignore[arg-type]
    actor.add([finished(0, is_generated=False), finished(1), finished(2), finished(3)])
    assert not actor.has_stopped("p")
    actor.add([finished(0)])
    assert actor.has_stopped("p")


def run_problem(
    correct: list[bool], seconds: list[float], rule: StoppingRule, *, in_flight: int
) -> tuple[Stop, list[bool]]:
    """One problem with so many samples in flight at a time: where it stops, and all verdicts that were heard of.

    Samples finish when they do, the next is launched whenever a place is free, and a stop cancels what is in flight.
    """
    board, flying, launched, heard = StoppingTracker(rule), [], 0, []
    clock = 0.0
    while not board.has_stopped("p"):
        while launched < rule.limit and len(flying) < in_flight:
            heapq.heappush(flying, (clock + seconds[launched], launched))
            launched += 1
        clock, index = heapq.heappop(flying)
        heard.append(correct[index])
        board.record("p", index, correct[index])
    return board.stops()["p"], heard


@pytest.mark.parametrize(
    "rule", [StoppingRule(successes=1, give_up_after=8, limit=16), StoppingRule(successes=2, give_up_after=4, limit=16)]
)
@pytest.mark.parametrize("in_flight", [1, 5, 16])
def test_estimates_have_no_bias_though_correct_samples_finish_first(rule: StoppingRule, in_flight: int) -> None:
    """The unkindest order: correct samples take a tenth of the time. The share of correct samples among those heard of is far off."""
    rng = np.random.default_rng(in_flight)
    p_P = rng.choice([0.05, 0.3, 0.7], 6000)
    correct_PN = rng.random((len(p_P), rule.limit)) < p_P[:, None]
    seconds_PN = rng.exponential(np.where(correct_PN, 1.0, 10.0))
    runs = [
        run_problem(correct, seconds, rule, in_flight=in_flight)
        for correct, seconds in zip(correct_PN.tolist(), seconds_PN.tolist(), strict=True)
    ]
    drawn_P, right_P = np.array([(stop.samples, stop.correct) for stop, _ in runs]).T
    ks = [1, 2, rule.give_up_after]
    for k, interval in zip(ks, adaptive_curve(drawn_P, right_P, ks, rule), strict=True):
        truth = (1 - (1 - p_P) ** k).mean()
        error = (interval.high - interval.low) / (2 * 1.96)
        assert abs(interval.estimate - truth) < 4 * error, (k, interval, truth)
        assert error < 0.01, "small enough to see a bias"
    naive = np.mean([np.mean(heard) for _, heard in runs])
    assert naive > p_P.mean() + 0.03, "the plain share of correct samples"


def test_stopping_at_the_first_success_to_arrive_would_be_biased() -> None:
    """Why elders are waited for: without that, quick successes end problems that their slow elders would not have."""
    rule = StoppingRule(successes=1, give_up_after=8, limit=8)
    rng = np.random.default_rng(0)
    correct_PN = rng.random((4000, 8)) < 0.3
    seconds_PN = rng.exponential(np.where(correct_PN, 1.0, 10.0))
    arrivals = [correct[np.argsort(seconds)] for correct, seconds in zip(correct_PN, seconds_PN, strict=True)]
    stops = [stops_of([finished(i, is_correct=ok) for i, ok in enumerate(order.tolist())], rule) for order in arrivals]
    first = np.array([stop["p"].samples == 1 for stop in stops])
    assert first.mean() > 0.3 + 0.2
