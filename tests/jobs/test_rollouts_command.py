"""The command line of jobs.rollouts."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import rollouts
from pipelines.config.run import RunConfig
from tests.pipelines.stored_rows import make_run, row, wrong


def test_a_finished_run_becomes_rollouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run", RunConfig(sampler="esamp", samples=2), [[row(0, 0), wrong(0, 1)]])
    rollouts.main([str(tmp_path / "run"), "--output", str(tmp_path / "rollouts.parquet")])
    said = capsys.readouterr().out
    assert "2 rows of 1 groups (1 with different rewards, 0 incomplete)" in said
    assert "importance ratio per token     0.803 +- " in said and "importance ratio per sequence  0.607" in said
    table = pq.read_table(tmp_path / "rollouts.parquet")
    assert table["reward"].to_pylist() == [1.0, 0.0]
    assert table["advantage"].to_pylist() == pytest.approx([0.5**0.5, -(0.5**0.5)], abs=1e-3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["nowhere"], "holds no run"), (["nowhere", "--run.samples", "4"], "either a run folder or --run.* settings")],
)
def test_bad_input_ends_with_code_2(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        rollouts.main([*flags, "--output", str(tmp_path / "rollouts.parquet")])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "rollouts.parquet").exists()
