"""What a run ends with: its report and what to look at; what its actors warned of stands in it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.config.early_stopping import StoppingConfig
from pipelines.report.after_run import report_after_run
from pipelines.runs.folder import Session
from tests.pipelines.report.report_runs import SHARD, config, write_run
from tests.pipelines.stored_rows import make_run, row


def told(paths: list[Path], output: str | Path) -> str:
    console = Console(width=300, file=io.StringIO())
    report_after_run(paths, output, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_run_ends_with_its_report_and_one_sentence_what_to_look_at(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", config("esamp"), solved_share=0.4)
    warned = [{"source": "shard-0", "kind": "trainer_failed", "message": "the trainer is gone", "count": 2}]
    shard = SHARD | {"broken_slots": 3}
    folder.add_session(
        Session(started="", seconds=1.0, units=1, samples=1, tokens=9, shards=[shard], trainer=None, warnings=warned)
    )
    last = told([tmp_path / "run"], tmp_path / "run" / "report").splitlines()[-1]
    assert last.startswith(
        f"report: {tmp_path}/run/report/report.html. Look at pass@4 with its interval and at the caveats first"
    )
    page = (tmp_path / "run" / "report" / "report.html").read_text()
    assert "shard-0: the trainer is gone (trainer failed: 2)" in page, "once, with its count"
    assert "diverged slots: 3" in page


def test_a_run_that_can_have_no_report_says_why_and_is_done(tmp_path: Path) -> None:
    make_run(tmp_path / "part", config("esamp"), [[row(0, 0)]])
    assert told([tmp_path / "part"], tmp_path / "report").startswith("no report:")
    assert "python -m jobs.report" in told([tmp_path / "part"], "s3://bucket/run/report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("path", ["adaptive"])
def test_a_run_that_stops_problems_early_has_its_table_only(tmp_path: Path, path: str) -> None:
    make_run(tmp_path / path, config("esamp", stop=StoppingConfig(successes=1)), [[row(0, 0)]])
    assert told([tmp_path / path], tmp_path / "report") == ""
