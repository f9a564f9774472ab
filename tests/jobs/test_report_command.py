"""The command line of jobs.report."""

from pathlib import Path

import pytest

from jobs import report
from tests.pipelines.report.report_runs import config, write_run


def test_two_runs_become_a_report_where_they_lie_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sampler in ("vanilla", "esamp"):
        write_run(tmp_path / sampler, config(sampler), solved_share=0.3)
    report.main([str(tmp_path / "vanilla"), str(tmp_path / "esamp"), "--diversity.problems", "4"])
    told = capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").is_file()
    assert f"report: {tmp_path / 'report' / 'report.html'}" in told and "vanilla" in told


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere"], "holds no run"),
        ([], "at least one run folder"),
        (["nowhere", "--diversity.samples", "1"], "samples >= 2"),
    ],
)
def test_bad_input_ends_with_code_2(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        report.main([*flags, "--output", str(tmp_path / "report")])
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.replace("\u2502", " ").split())
    assert not (tmp_path / "report").exists()
