"""Rollouts: advantages worked out by hand, and the file a trainer reads."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.rollouts.export import group_advantages, write_rollouts
from pipelines.runs.folder import RunFolder
from tests.pipelines.stored_rows import failed, make_run, row, wrong

CONFIG = RunConfig(samples=4)


def test_advantages_are_normalised_within_their_group() -> None:
    """Rewards 1, 0, 0, 0: mean 1/4, population standard deviation sqrt(3)/4. The other group is all alike."""
    groups = ["a", "a", "b", "a", "a", "b"]
    rewards = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    std = 3**0.5 / 4 + 1e-4
    low, high = -0.25 / std, 0.75 / std
    assert group_advantages(groups, rewards) == pytest.approx([high, low, 0.0, low, low, 0.0])


def test_a_rollout_has_tokens_both_log_probabilities_reward_and_group(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[wrong(0, 1), row(0, 0)], [row(1, 0)]])
    assert write_rollouts(folder, tmp_path / "out" / "rollouts.parquet") == 3
    first = pq.read_table(tmp_path / "out" / "rollouts.parquet").to_pylist()[0]
    expected = {
        "group_id": "p0",
        "sample_index": 0,
        "prompt_token_ids": [1],
        "response_token_ids": [2, 3],
        "behaviour_logprobs": [-1.0, -2.0],
        "policy_logprobs": [-1.0, -2.5],
        "reward": 1.0,
        "finish_reason": "stop",
        "beta": 0.25,
        "distiller_version": "abc:1:16",
    }
    assert {name: first[name] for name in expected} == expected
    assert first["answer"] == "0"
    assert first["advantage"] == pytest.approx(0.5 / (0.5 + 1e-4))


def test_samples_without_a_verdict_are_left_out(tmp_path: Path) -> None:
    """A failed sample is no sample of reward 0: with it the other's advantage would not be 0."""
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), failed(0, 1)]])
    assert write_rollouts(folder, tmp_path / "rollouts.parquet") == 1
    assert pq.read_table(tmp_path / "rollouts.parquet")["advantage"].to_pylist() == [0.0]


def test_nothing_is_written_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run\.json"):
        write_rollouts(RunFolder(tmp_path), tmp_path / "rollouts.parquet")
    with pytest.raises(InputError, match="no sample of this run has a verdict"):
        write_rollouts(make_run(tmp_path / "run", CONFIG, [[failed(0, 0)]]), tmp_path / "rollouts.parquet")
    assert not (tmp_path / "rollouts.parquet").exists()
