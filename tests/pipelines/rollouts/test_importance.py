"""Importance ratios, worked out by hand and compared with plain sums."""

import numpy as np
import pytest

from pipelines.rollouts.importance import Ratios


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
