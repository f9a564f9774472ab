"""Importance ratios, worked out by hand and compared with plain sums."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.config.run import RunConfig
from pipelines.rollouts.importance import ImportanceRatios, Ratios
from pipelines.rollouts.stored_samples import StoredSamples
from tests.pipelines.stored_rows import make_run, row


def summary_of(log_ratios: list[float]) -> tuple[int, float, float]:
    ratios = Ratios()
    for log_ratio in log_ratios:
        ratios.add(np.array([log_ratio]))
    summary = ratios.summary()
    assert summary is not None
    return summary.count, summary.mean, summary.effective_fraction


def test_the_ratios_of_samples_from_the_policy_itself_are_1() -> None:
    assert summary_of([0.0, 0.0, 0.0]) == (3, pytest.approx(1.0), pytest.approx(1.0))


def test_mean_and_effective_sample_size_by_hand() -> None:
    """Ratios 1 and 3: mean 2, effective sample size 4^2 / 10 of 2."""
    assert summary_of([0.0, np.log(3)]) == (2, pytest.approx(2.0), pytest.approx(16 / 10 / 2))


def test_ratios_that_no_float_holds_are_summed() -> None:
    """A thousand-token answer may be e^-2000 times as likely; a float underflows at e^-745."""
    count, mean, effective_fraction = summary_of([-2000.0, -2000.0])
    assert (count, mean) == (2, 0.0) and effective_fraction == pytest.approx(1.0)


def test_the_standard_error_is_that_of_the_mean() -> None:
    log_ratios = np.random.default_rng(0).normal(0, 0.5, 1000)
    ratios = Ratios()
    ratios.add(log_ratios)
    summary = ratios.summary()
    assert summary is not None
    assert summary.standard_error == pytest.approx(np.exp(log_ratios).std() / 1000**0.5)


def test_no_ratio_has_no_summary() -> None:
    assert Ratios().summary() is None


def test_a_ratio_is_the_sampling_policys_probability_over_the_behaviours(tmp_path: Path) -> None:
    """Half as likely as drawn, then three times: a product of 1.5, and not its inverse."""
    behaviour, sampling = [-1.0, -3.0], [-1.0 - np.log(2), -3.0 + np.log(3)]
    drawn = row(0, 0, behaviour_logprobs=behaviour, sampling_logprobs=sampling)
    folder = make_run(tmp_path / "run", RunConfig(samples=1), [[drawn]], num_problems=1)
    ratios = ImportanceRatios()
    for group in StoredSamples(folder).groups():
        ratios.add(group.rollouts[0])
    tokens, sequences = ratios.tokens.summary(), ratios.sequences.summary()
    assert tokens is not None and sequences is not None
    assert (tokens.count, tokens.mean) == (2, pytest.approx((0.5 + 3) / 2)) and sequences.mean == pytest.approx(1.5)
