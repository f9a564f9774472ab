"""The command line of jobs.compare, on runs that are finished already: no engine starts."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from jobs import compare
from jobs.compare import CompareCommand, comparison_runs
from pipelines.config.run import RunConfig
from pipelines.prepare.run import prepare_run
from pipelines.runs.schema import STORED_SCHEMA
from tests.pipelines.stored_rows import row, wrong


def finish(config: RunConfig) -> None:
    """Write every sample of a run; the first one of each problem is correct under esamp."""
    run = prepare_run(config)
    run.folder.open(run.manifest, run.plan)
    rows = [
        {
            **(row if config.sampler == "esamp" and index == 0 else wrong)(0, index),
            "unit_id": unit.work.unit_id,
            "problem_id": unit.problem.problem_id,
            "problem": unit.problem.text,
        }
        for unit in run.plan.work_units()
        for index in unit.work.sample_indices
    ]
    pa.parquet.write_table(
        pa.Table.from_pylist(rows, schema=STORED_SCHEMA), config.run_folder / "samples" / "0.parquet"
    )


def test_runs_are_the_same_but_for_sampler_seed_and_folder() -> None:
    command = CompareCommand(seeds=(0, 7), output=Path("out"), run=RunConfig(samples=8, limit=3))
    runs = comparison_runs(command)
    assert [(run.sampler, run.seed, str(run.output)) for run in runs] == [
        ("vanilla", 0, "out/vanilla-0"),
        ("vanilla", 7, "out/vanilla-7"),
        ("esamp", 0, "out/esamp-0"),
        ("esamp", 7, "out/esamp-7"),
    ]
    assert {replace(run, sampler="esamp", seed=0, output=None) for run in runs} == {command.run}


def test_one_command_ends_in_one_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = CompareCommand(seeds=(0, 1), output=tmp_path, run=RunConfig(samples=2, limit=12))
    for config in comparison_runs(command):
        finish(config)
    flags = ["--run.samples", "2", "--run.limit", "12", "--seeds", "0", "1", "--output", str(tmp_path)]
    compare.main(flags)
    told = " ".join(capsys.readouterr().out.split())
    assert "esamp (beta 0.25) beats vanilla at k = 1, 2. pass@2 is 100.0% against 0.0%" in told
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "esamp-1" / "summary.json").is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--samplers", "vanilla", "greedy"], "got 'greedy'"),
        (["--samplers", "esamp", "esamp"], "each once"),
        (["--seeds", "1", "1"], "each once"),
        (["--run.seed", "3"], "give --samplers, --seeds and --output"),
        (["--run.model", "no/such/model"], "does not exist"),
    ],
)
def test_bad_input_ends_with_code_2_before_anything_is_written(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        compare.main([*flags, "--output", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
