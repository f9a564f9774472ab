"""What each condition achieved: every measure with its interval over problems.

Legend: R runs of a condition, P problems, N samples of each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipelines.report.run_samples import RunSamples
from pipelines.report.run_set import RunSet
from pipelines.statistics.best_of_k import best_of_k, pass_hat_k
from pipelines.statistics.cost import cost_per_solved
from pipelines.statistics.exchangeability import Exchangeability, exchangeability_test
from pipelines.statistics.interval import UNDEFINED, Interval, mean_interval
from pipelines.statistics.majority import maj_curve
from pipelines.statistics.pass_at_k import pass_at_k_per_problem
from pipelines.statistics.prefix import solved_within
from pipelines.statistics.replicates import BetweenRuns, between_runs, run_variance_share
from pipelines.verifiers.verdict import VerdictStatus

Unit = Literal["share", "number"]
VOTING = (VerdictStatus.CORRECT, VerdictStatus.WRONG)
"""Verdicts on samples that gave an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One row of the table of measures."""

    name: str
    question: str
    """What it answers, in a few words."""
    unit: Unit
    values: list[Interval]
    """One per condition."""
    k: int | None = None


def measure_conditions(run_set: RunSet) -> list[Measure]:
    """Every measure of every condition."""
    return [
        *by_k(run_set, "pass@{k} | group={n}", "a random {k}-subset of the group holds a correct sample", pass_at),
        *by_k(run_set, "first {k}", "one of the first {k} launched is correct", first_k),
        *by_k(run_set, "maj@{k}", "the majority of {k} votes is right", majority),
        *by_k(run_set, "pass^{k}", "all of {k} are correct", all_of_k),
        *by_k(run_set, "best-of-{k}", "the likeliest of {k} under the plain model is correct", likeliest),
        *rates(run_set),
        *costs(run_set),
    ]


PerProblem = Callable[[RunSamples, list[int]], list[npt.NDArray[np.float64]]]
"""Values [P] of a run's problems at each k."""


def by_k(run_set: RunSet, name: str, question: str, per_problem: PerProblem) -> Iterator[Measure]:
    """A measure at every k: per problem, mean over runs, then over problems. Undefined where a condition has fewer than k samples."""
    sizes = {condition.group_size for condition in run_set.conditions}
    size = str(sizes.pop()) if len(sizes) == 1 else "n"
    intervals = []
    for condition in run_set.conditions:
        ks = [k for k in run_set.ks if k <= condition.group_size]
        values_RKP = [per_problem(run, ks) for run in condition.runs]
        means = [mean_interval(np.mean(values_RP, axis=0)) for values_RP in zip(*values_RKP, strict=True)]
        intervals.append(dict(zip(ks, means, strict=True)))
    for k in run_set.ks:
        yield Measure(
            name=name.format(k=k, n=size),
            question=question.format(k=k),
            unit="share",
            values=[of_condition.get(k, UNDEFINED) for of_condition in intervals],
            k=k,
        )


def pass_at(run: RunSamples, ks: list[int]) -> list[npt.NDArray[np.float64]]:
    """pass@k of each problem."""
    samples_P = np.full(len(run.problems), run.group_size)
    return [pass_at_k_per_problem(samples_P, run.correct_PN.sum(axis=1), k) for k in ks]


def first_k(run: RunSamples, ks: list[int]) -> list[npt.NDArray[np.float64]]:
    """Solved by the first k in launch order, of each problem."""
    return [solved_within(list(run.correct_PN), k) for k in ks]


def majority(run: RunSamples, ks: list[int]) -> list[npt.NDArray[np.float64]]:
    """maj@k of each problem; what a verifier extracted is the vote."""
    pairs = zip(final_answers(run), run.correct_PN, strict=True)
    return list(np.array([maj_curve(answers, correct, ks) for answers, correct in pairs]).T)


def final_answers(run: RunSamples) -> list[list[str | None]]:
    """What was extracted from each sample, [P][N]; None where there is no answer."""
    return [
        [text if text and status in VOTING else None for text, status in zip(texts, statuses, strict=True)]
        for texts, statuses in zip(run.column("extracted", run.rows_PN).tolist(), run.status_PN.tolist(), strict=True)
    ]


def all_of_k(run: RunSamples, ks: list[int]) -> list[npt.NDArray[np.float64]]:
    """pass^k of each problem."""
    correct_P = run.correct_PN.sum(axis=1).tolist()
    return [np.array([pass_hat_k(run.group_size, correct, k) for correct in correct_P]) for k in ks]


def likeliest(run: RunSamples, ks: list[int]) -> list[npt.NDArray[np.float64]]:
    """best-of-k of each problem, scored by the plain model's mean log-probability of the sample's tokens."""
    pairs = list(zip(run.logprob_PN, run.correct_PN.astype(float), strict=True))
    return [np.array([best_of_k(scores, correct, k) for scores, correct in pairs]) for k in ks]


def rates(run_set: RunSet) -> Iterator[Measure]:
    """Shares of samples by what became of them; intervals over problems, since siblings share their fate."""
    shares: list[tuple[str, str, Callable[[RunSamples], npt.NDArray[np.bool_]]]] = [
        ("avg@n", "a sample is correct", lambda run: run.correct_PN),
        ("no answer", "a sample commits to no answer", lambda run: run.status_PN == VerdictStatus.NO_ANSWER),
        (
            "unreadable",
            "there is an answer that cannot be read",
            lambda run: run.status_PN == VerdictStatus.PARSE_ERROR,
        ),
        ("truncated", "a sample was cut off at max_tokens", lambda run: run.truncated_PN),
        ("time-outs", "the verifier was killed for time", lambda run: run.status_PN == VerdictStatus.TIMEOUT),
        ("failed", "a sample could not be drawn or not be scored", lambda run: np.isin(run.status_PN, FAILED)),
    ]
    for name, question, select in shares:
        yield Measure(
            name=name,
            question=question,
            unit="share",
            values=[
                mean_interval(np.mean([select(run).mean(axis=1) for run in condition.runs], axis=0))
                for condition in run_set.conditions
            ],
        )


FAILED = [VerdictStatus.ERROR.value, VerdictStatus.OUT_OF_MEMORY.value, VerdictStatus.SANDBOX_ERROR.value]


def costs(run_set: RunSet) -> Iterator[Measure]:
    """What was spent. Times are of the engines at work, start-up left out; without a completed session they are not known."""
    yield Measure(
        name="tokens per sample",
        question="length of an answer",
        unit="number",
        values=[
            mean_interval(
                np.mean([run.num_tokens_PN.mean(axis=1) for run in condition.runs], axis=0), bounds=(0.0, float("inf"))
            )
            for condition in run_set.conditions
        ],
    )
    yield Measure(
        name="tokens per solved problem",
        question="all tokens over problems with a correct sample",
        unit="number",
        values=[
            cost_per_solved(
                np.concatenate([run.num_tokens_PN.sum(axis=1) for run in condition.runs]),
                np.concatenate([run.correct_PN.any(axis=1) for run in condition.runs]),
            )
            for condition in run_set.conditions
        ],
    )
    yield Measure(
        name="seconds per solved problem",
        question="engine time over problems with a correct sample",
        unit="number",
        values=[
            without_interval(
                sum(busy_seconds(run) for run in condition.runs),
                sum(int(run.correct_PN.any(axis=1).sum()) for run in condition.runs),
            )
            for condition in run_set.conditions
        ],
    )
    yield Measure(
        name="tokens/s",
        question="answer tokens per second of engine time",
        unit="number",
        values=[
            without_interval(
                sum(session.tokens for run in condition.runs for session in run.sessions),
                sum(busy_seconds(run) for run in condition.runs),
            )
            for condition in run_set.conditions
        ],
    )
    yield Measure(
        name="wall clock, s",
        question="from the first unit of work to the last",
        unit="number",
        values=[
            without_interval(sum(session.seconds for run in condition.runs for session in run.sessions) or np.nan, 1.0)
            for condition in run_set.conditions
        ],
    )


def busy_seconds(run: RunSamples) -> float:
    """Time in which the busiest shard of each completed session had work; NaN if there is none."""
    if not run.sessions:
        return float("nan")
    return sum(max(shard["generation_seconds"] for shard in session.shards) for session in run.sessions)


def without_interval(numerator: float, denominator: float) -> Interval:
    """A ratio of which nothing says how sure it is. NaN if the denominator is 0."""
    ratio = numerator / denominator if denominator else float("nan")
    return Interval(estimate=ratio, low=float("nan"), high=float("nan"), method="undefined")


@dataclass(frozen=True, kw_only=True, slots=True)
class Replication:
    """A condition's pass@k over its runs."""

    condition: str
    k: int
    between: BetweenRuns
    luck: float
    """Share of a problem's variance that is the luck of the run."""


def replications(run_set: RunSet) -> list[Replication]:
    """Between-run error of every condition with two runs or more."""
    return [
        Replication(
            condition=condition.name,
            k=k,
            between=between_runs(condition.pass_at_RP(k).mean(axis=1)),
            luck=run_variance_share(condition.pass_at_RP(k)),
        )
        for condition in run_set.conditions
        if len(condition.runs) > 1
        for k in run_set.ks
        if k <= condition.group_size
    ]


def launch_order(run_set: RunSet) -> list[Exchangeability]:
    """Does launch order matter? One test per condition, over the problems of all its runs."""
    return [exchangeability_test(np.concatenate(list(condition.correct_RPN))) for condition in run_set.conditions]
