"""Filters, on stored rows through the reader, as an export applies them."""

from pathlib import Path

import pytest

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.rollouts.config import FilterConfig
from pipelines.rollouts.filters import drops_group, filtered_rollouts
from pipelines.rollouts.rollout import RolloutGroup
from pipelines.rollouts.stored_samples import StoredSamples
from tests.pipelines.stored_rows import make_run, row, wrong


@pytest.fixture
def groups(tmp_path: Path) -> list[RolloutGroup]:
    """Mixed, all correct, all wrong; in the mixed one a wrong answer, its twin, a correct one, and a long truncated one."""
    mixed = [
        wrong(0, 0, token_ids=[5]),
        wrong(0, 1, token_ids=[5]),
        row(0, 2, token_ids=[7, 8]),
        row(0, 3, token_ids=[9] * 9, finish_reason="length"),
    ]
    rows = [*mixed, row(1, 0), row(1, 1), wrong(2, 0)]
    samples = StoredSamples(make_run(tmp_path / "run", RunConfig(sampler="esamp", samples=4), [rows], num_problems=3))
    return list(samples.groups())


def kept(group: RolloutGroup, *, ends_responses: bool = False, **settings: object) -> tuple[list[int], dict[str, int]]:
    """The sample indices that are kept, and what was dropped."""
    dropped: dict[str, int] = {}
    filters = FilterConfig(**settings)  # type: ignore[arg-type]
    after = filtered_rollouts(group, filters, ends_responses=ends_responses, dropped=dropped)
    return [rollout.sample_index for rollout in after.rollouts], {why: n for why, n in dropped.items() if n}


def test_groups_that_teach_nothing_are_dropped_by_kind(groups: list[RolloutGroup]) -> None:
    assert [drops_group(group, FilterConfig()) for group in groups] == [None] * 3
    assert [bool(drops_group(group, FilterConfig(drop_all_correct=True))) for group in groups] == [False, True, False]
    assert [bool(drops_group(group, FilterConfig(drop_all_wrong=True))) for group in groups] == [False, False, True]


def test_nothing_is_dropped_by_default(groups: list[RolloutGroup]) -> None:
    assert kept(groups[0]) == ([0, 1, 2, 3], {})


def test_duplicates_are_of_the_same_tokens_and_the_first_stays(groups: list[RolloutGroup]) -> None:
    assert kept(groups[0], deduplicate=True) == ([0, 2, 3], {"duplicates": 1})


def test_the_best_are_those_of_the_highest_reward_in_launch_order(groups: list[RolloutGroup]) -> None:
    assert kept(groups[0], best=3) == ([0, 2, 3], {"rollouts beyond the best": 1})
    assert kept(groups[0], best=1)[0] == [2]


def test_lengths_are_in_tokens_and_inclusive(groups: list[RolloutGroup]) -> None:
    assert kept(groups[0], min_tokens=2, max_tokens=9)[0] == [2, 3]
    assert kept(groups[0], max_tokens=2) == ([0, 1, 2], {"responses that are too long": 1})


def test_truncated_responses_are_dropped_where_a_trainer_would_put_an_end_behind_them(
    groups: list[RolloutGroup],
) -> None:
    assert kept(groups[0], ends_responses=True) == ([0, 1, 2], {"truncated responses": 1})
    assert kept(groups[0], ends_responses=True, truncated="keep")[0] == [0, 1, 2, 3]
    assert kept(groups[0], truncated="drop")[0] == [0, 1, 2]


def test_impossible_filters_are_refused() -> None:
    with pytest.raises(InputError, match=r"filter\.best must be >= 1"):
        FilterConfig(best=0)
    with pytest.raises(InputError, match=r"filter\.max_tokens must be >= filter\.min_tokens"):
        FilterConfig(min_tokens=3, max_tokens=2)
