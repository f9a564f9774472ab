"""The command over stored runs."""

from pathlib import Path

import pytest

from jobs.devtools import shared_choices
from tests.pipelines.report.report_runs import config, write_run


def test_a_run_of_vanilla_and_another_give_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        write_run(tmp_path / str(seed), config(sampler, seed=seed), solved_share=0.5)
        for seed, sampler in enumerate(("quasi", "vanilla"))
    ]
    shared_choices.main([str(run.path) for run in runs])
    printed = capsys.readouterr().out
    assert "correlation of success" in printed and " to " in printed


@pytest.mark.parametrize(
    ("samplers", "reason"),
    [
        (["vanilla"], "another run or more"),
        (["quasi", "quasi"], "give a run of vanilla"),
        (["vanilla", "esamp"], r"esamp (beta 0.25) is not distributed as one of vanilla"),
    ],
)
def test_runs_that_cannot_answer_are_refused(
    samplers: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        write_run(tmp_path / str(seed), config(sampler, seed=seed), solved_share=0.5)
        for seed, sampler in enumerate(samplers)
    ]
    with pytest.raises(SystemExit) as end:
        shared_choices.main([str(run.path) for run in runs])
    assert end.value.code == 2 and reason in capsys.readouterr().err
