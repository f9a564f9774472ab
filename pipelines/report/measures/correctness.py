"""Correctness of k samples: pass@k, the first k, majority vote, all of k, best of k; each with an interval over problems.

Legend: R runs of a condition, P problems, N samples of each, K values of k.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from pipelines.report.measures.measure import Measure
from pipelines.report.run_samples import RunSamples
from pipelines.report.run_set import RunSet
from pipelines.statistics.best_of_k import best_of_k, pass_hat_k
from pipelines.statistics.dependent_samples.marginal_bound import marginal_bound_per_problem
from pipelines.statistics.dependent_samples.prefix import solved_within
from pipelines.statistics.group_estimator import group_estimator
from pipelines.statistics.interval import UNDEFINED, mean_interval
from pipelines.statistics.majority import maj_curve
from pipelines.verifiers.verdict import VerdictStatus

VOTING = (VerdictStatus.CORRECT, VerdictStatus.WRONG)
"""Verdicts on samples that gave an answer."""


SUBSETS = "a random {k}-subset of the group holds a correct sample; of jointly drawn siblings, {k} neighbours"
BOUND = "no sampler with these samples' marginals can exceed it at {k}: mean of min(1, k c/n), which understates it where n is small"


def correctness_at_k(run_set: RunSet) -> list[Measure]:
    """Every measure of k samples, at every k."""
    return [
        *by_k(run_set, "pass@{k} | group={n}", SUBSETS, pass_at),
        *by_k(run_set, "bound of pass@{k}", BOUND, marginal_bound),
        *by_k(run_set, "first {k}", "one of the first {k} launched is correct", first_k),
        *by_k(run_set, "maj@{k}", "the majority of {k} votes is right", majority),
        *by_k(run_set, "pass^{k}", "all of {k} are correct", all_of_k),
        *by_k(run_set, "best-of-{k}", "the likeliest of {k} under the plain model is correct", likeliest),
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
    """pass@k of each problem, by the estimator that fits the sampler."""
    estimate = group_estimator(siblings_form_sequence=run.manifest.config.siblings_form_sequence)
    return [estimate(list(run.correct_PN), k) for k in ks]


def marginal_bound(run: RunSamples, ks: list[int]) -> list[npt.NDArray[np.float64]]:
    """The most that joint draws with this run's marginals can reach, of each problem."""
    samples_P = np.full(len(run.problems), run.group_size)
    return [marginal_bound_per_problem(samples_P, run.correct_PN.sum(axis=1), k) for k in ks]


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
