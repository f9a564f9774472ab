"""Shares of samples that were correct, gave no answer, were truncated, timed out or failed."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipelines.report.measures.measure import Measure
from pipelines.report.run_samples import RunSamples
from pipelines.report.run_set import RunSet
from pipelines.statistics.interval import mean_interval
from pipelines.verifiers.verdict import VerdictStatus

FAILED = [VerdictStatus.ERROR.value, VerdictStatus.OUT_OF_MEMORY.value, VerdictStatus.SANDBOX_ERROR.value]


def verdict_rates(run_set: RunSet) -> list[Measure]:
    """Share of the samples with each verdict. Intervals are over problems: the samples of a problem depend on each other."""
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
        ("failed", "a sample could not be generated or scored", lambda run: np.isin(run.status_PN, FAILED)),
    ]
    return [
        Measure(
            name=name,
            question=question,
            unit="share",
            values=[
                mean_interval(np.mean([select(run).mean(axis=1) for run in condition.runs], axis=0))
                for condition in run_set.conditions
            ],
        )
        for name, question, select in shares
    ]
