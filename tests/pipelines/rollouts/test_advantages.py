"""Advantages, worked out by hand."""

import doctest

import pytest

from pipelines.rollouts import advantages, rollout
from pipelines.rollouts.advantages import grpo, leave_one_out


def test_advantages_are_normalised_by_the_standard_deviation_of_a_sample() -> None:
    """Rewards 1, 0, 0, 0: mean 1/4, and sqrt(((3/4)^2 + 3 (1/4)^2) / 3) = 1/2, where dividing by 4 would give sqrt(3)/4."""
    std = 0.5 + 1e-4
    assert grpo([1.0, 0.0, 0.0, 0.0]) == pytest.approx([0.75 / std, *[-0.25 / std] * 3])


def test_leave_one_out_compares_with_the_others() -> None:
    assert leave_one_out([1.0, 0.0, 0.0, 0.0]) == pytest.approx([1.0, -1 / 3, -1 / 3, -1 / 3])


@pytest.mark.parametrize("estimator", [grpo, leave_one_out])
@pytest.mark.parametrize("rewards", [[1.0], [1.0, 1.0], []])
def test_a_group_without_a_difference_teaches_nothing(estimator, rewards: list[float]) -> None:  # type: ignore[no-untyped-def]
    assert estimator(rewards) == [0.0] * len(rewards)


@pytest.mark.parametrize("module", [advantages, rollout])
def test_examples_hold(module) -> None:  # type: ignore[no-untyped-def]
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
