"""Golden-ratio codes: spread in every prefix and window, uniform alone, and a function of seed, group and index only."""

import numpy as np
import pytest
from scipy import stats

from esamp.joint.codes import GroupCodes, unit_float


def codes_of(num_samples: int, *, seed: int = 0, first: int = 0) -> np.ndarray:
    codes = GroupCodes.of(seed, "p")
    return np.array([codes.uniform(first + index) for index in range(num_samples)])


@pytest.mark.parametrize("num_samples", [2, 5, 16, 64, 100])
@pytest.mark.parametrize("first", [0, 7, 1000])
def test_every_window_is_spread_over_the_unit_interval(num_samples: int, first: int) -> None:
    """Three-distance theorem: gaps of a golden-ratio sequence are at most phi^2 / N, where independent numbers have gaps of log(N) / N."""
    u = np.sort(codes_of(num_samples, first=first))
    gaps = np.diff(np.concatenate([u, [u[0] + 1]]))
    assert gaps.max() <= 2.618 / num_samples
    assert gaps.min() >= 0.38 / num_samples


def test_a_code_alone_is_uniform_over_seeds() -> None:
    u = [GroupCodes.of(seed, "p").uniform(3) for seed in range(4000)]
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_groups_and_seeds_have_offsets_of_their_own() -> None:
    assert len({GroupCodes.of(seed, group).offset for seed in range(10) for group in "abcdefghij"}) == 100


def test_codes_never_reach_one() -> None:
    assert unit_float(2**64 - 1) < 1.0
