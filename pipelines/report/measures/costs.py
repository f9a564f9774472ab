"""Tokens and time per sample and per solved problem. Times are those of the engines at work, start-up left out."""

import numpy as np

from pipelines.report.measures.measure import Measure
from pipelines.report.run_set import Condition, RunSet
from pipelines.runs.folder import Session
from pipelines.runs.summary import busy_seconds, tokens_per_s
from pipelines.statistics.comparison.cost import cost_per_solved
from pipelines.statistics.interval import Interval, mean_interval


def costs(run_set: RunSet) -> list[Measure]:
    """What was spent, whatever the verdicts. Speeds are NaN for runs without a completed session: nothing says how long they took."""
    conditions = run_set.conditions
    return [
        Measure(
            name="tokens per sample",
            question="length of a sample",
            unit="number",
            values=[tokens_per_sample(condition) for condition in conditions],
        ),
        Measure(
            name="tokens/s",
            question="generated tokens per second of engine time",
            unit="number",
            values=[without_interval(tokens_per_s(sessions_of(condition))) for condition in conditions],
        ),
        Measure(
            name="wall clock, s",
            question="from the first work unit to the last",
            unit="number",
            values=[
                without_interval(sum(session.seconds for session in sessions_of(condition)) or None)
                for condition in conditions
            ],
        ),
    ]


def costs_per_solved_problem(run_set: RunSet) -> list[Measure]:
    """What was spent on all problems, over the problems with a correct sample."""
    return [
        Measure(
            name="tokens per solved problem",
            question="all tokens over problems with a correct sample",
            unit="number",
            values=[tokens_per_solved(condition) for condition in run_set.conditions],
        ),
        Measure(
            name="seconds per solved problem",
            question="engine time over problems with a correct sample",
            unit="number",
            values=[without_interval(seconds_per_solved(condition)) for condition in run_set.conditions],
        ),
    ]


def tokens_per_sample(condition: Condition) -> Interval:
    """Mean over runs, then over problems."""
    tokens_P = np.mean([run.num_tokens_PN.mean(axis=1) for run in condition.runs], axis=0)
    return mean_interval(tokens_P, bounds=(0.0, float("inf")))


def tokens_per_solved(condition: Condition) -> Interval:
    """Problems of all runs together."""
    return cost_per_solved(
        np.concatenate([run.num_tokens_PN.sum(axis=1) for run in condition.runs]),
        np.concatenate([run.correct_PN.any(axis=1) for run in condition.runs]),
    )


def seconds_per_solved(condition: Condition) -> float | None:
    """Engine time over solved problems of all runs; None if nothing was solved or nothing says how long it took."""
    seconds = sum(busy_seconds(session) for session in sessions_of(condition))
    solved = sum(int(run.correct_PN.any(axis=1).sum()) for run in condition.runs)
    return seconds / solved if seconds and solved else None


def sessions_of(condition: Condition) -> list[Session]:
    """Completed sessions of all runs."""
    return [session for run in condition.runs for session in run.sessions]


def without_interval(value: float | None) -> Interval:
    """A number that nothing gives an interval for; NaN for None."""
    estimate = float("nan") if value is None else value
    return Interval(estimate=estimate, low=float("nan"), high=float("nan"), method="undefined")
