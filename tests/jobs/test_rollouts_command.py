"""The command line of jobs.rollouts."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
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
    [
        (["nowhere"], "holds no run"),
        (["nowhere", "--run.samples", "4"], "either a run folder or --run.* settings"),
        (["nowhere", "--stream"], "--stream is for a run that is made here"),
        (
            ["--stream", "--run.sampler", "vanilla", "--run.stop.successes", "2"],
            "--stream writes groups all of whose samples were generated",
        ),
    ],
)
def test_bad_input_ends_with_code_2(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        rollouts.main([*flags, "--output", str(tmp_path / "rollouts.parquet")])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "rollouts.parquet").exists()


STREAMED_PROBLEMS, STREAMED_SAMPLES = 96, 8


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.engine
def test_a_stream_that_was_killed_goes_on_and_has_every_group_as_a_whole_and_once(tmp_path: Path) -> None:
    """Real engine, kill -9 behind the first files, and the same command again."""
    output = tmp_path / "rollouts"
    command = [
        *(sys.executable, "-m", "jobs.rollouts", "--output", str(output), "--stream", "--groups-per-step", "4"),
        *("--run.limit", str(STREAMED_PROBLEMS), "--run.samples", str(STREAMED_SAMPLES)),
        *("--run.output", str(tmp_path / "run"), "--run.engine.max-num-seqs", "8", "--run.engine.enforce-eager"),
        *("--run.engine.dtype", "float32", "--run.engine.kv-cache-gib", "0.1"),
    ]

    def start() -> subprocess.Popen[str]:
        log = (tmp_path / "log").open("a")
        return subprocess.Popen(command, stdout=log, stderr=log, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def said() -> str:
        return (tmp_path / "log").read_text()

    def files() -> list[Path]:
        return sorted(output.glob("*.parquet"))

    first = start()
    deadline = time.monotonic() + 300
    while len(files()) < 2:
        assert first.poll() is None and time.monotonic() < deadline, said()
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = {path: path.read_bytes() for path in files()}
    groups_before = groups_in(files())
    assert 0 < len(groups_before) < STREAMED_PROBLEMS, "it was killed in the middle"
    assert set(groups_before.values()) == {STREAMED_SAMPLES}

    assert start().wait(300) == 0, said()
    assert {path: path.read_bytes() for path in files()[: len(before)]} == before, "a file is never changed"
    groups = groups_in(files())
    assert len(groups) == STREAMED_PROBLEMS and set(groups.values()) == {STREAMED_SAMPLES}
    assert all(len(groups_in([path])) == 4 for path in files()), "96 groups fill their files"
    table = pq.read_table(files())
    assert set(table["verdict_class"].to_pylist()) == {"correct", "incorrect"}
    assert table["sampling_logprobs"].null_count == 0 and all(table["group_complete"].to_pylist())
    assert f"{STREAMED_SAMPLES * (STREAMED_PROBLEMS - len(groups_before))} rows of" in said()


def groups_in(files: list[Path]) -> Counter[str]:
    """Different samples of each group. No sample is there twice."""
    rows = [row for path in files for row in pq.read_table(path, columns=["group_id", "sample_index"]).to_pylist()]
    samples = [(row["group_id"], row["sample_index"]) for row in rows]
    assert len(set(samples)) == len(samples)
    return Counter(group for group, _ in samples)
