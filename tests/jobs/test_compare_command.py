"""The command line of jobs.compare, on runs that are finished already: no engine starts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet
import pytest

from actors.config import SamplingConfig
from esamp.config import ESampConfig
from jobs import compare
from jobs.compare import SHARED, CompareCommand, comparison_runs
from pipelines.config.run import RunConfig
from pipelines.loggers.registry import LOGGERS, LoggedRun
from pipelines.loggers.run_logger import Curves, Status
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
    command = CompareCommand(seeds=(0, 7), output=Path("out"), run=replace(SHARED, samples=8, limit=3))
    runs = comparison_runs(command)
    assert [(run.sampler, run.seed, str(run.output)) for run in runs] == [
        ("vanilla", 0, "out/vanilla-0"),
        ("vanilla", 7, "out/vanilla-7"),
        ("esamp", 0, "out/esamp-0"),
        ("esamp", 7, "out/esamp-7"),
    ]
    assert {replace(run, sampler=command.run.sampler, seed=0, output=None) for run in runs} == {command.run}


def test_a_sampler_may_bring_settings_of_its_own_and_a_folder_named_after_them() -> None:
    phrases = ("vanilla", "vanilla, temperature=0.8", "esamp, distiller=rls, source-depth=0.75", "quasi, start=token 8")
    shared = replace(SHARED, sampling=SamplingConfig(top_p=0.9))
    runs = comparison_runs(CompareCommand(samplers=phrases, output=Path("out"), run=shared))
    assert [str(run.output) for run in runs] == [
        "out/vanilla-0",
        "out/vanilla-temperature-0.8-0",
        "out/esamp-distiller-rls-source-depth-0.75-0",
        "out/quasi-start-token-8-0",
    ]
    assert [run.sampling for run in runs] == [
        shared.sampling,
        replace(shared.sampling, temperature=0.8),
        shared.sampling,
        shared.sampling,
    ]
    assert (runs[2].esamp.distiller, runs[2].esamp.source_depth, runs[3].quasi.start) == ("rls", 0.75, "token 8")


def test_the_report_names_settings_as_the_command_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phrases = ["vanilla", "esamp", "esamp, distiller=rls"]
    run = replace(SHARED, samples=2, limit=12, esamp=ESampConfig(trainer="local"))
    for config in comparison_runs(CompareCommand(samplers=tuple(phrases), output=tmp_path, run=run)):
        finish(config)
    shared = ["--run.samples", "2", "--run.limit", "12", "--run.esamp.trainer", "local"]
    compare.main([*shared, "--output", str(tmp_path), "--samplers", *phrases])
    told = " ".join(capsys.readouterr().out.split())
    assert "esamp (beta 0.25) beats vanilla" in told
    assert "esamp (beta 0.25), distiller=rls beats vanilla" in told


def test_a_comparison_goes_on_with_what_was_shared_and_not_with_one_samplers_temperature(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phrases = ["vanilla, temperature=0.8", "vanilla"]
    run = replace(SHARED, samples=2, limit=12, sampling=SamplingConfig(top_p=0.9))
    for config in comparison_runs(CompareCommand(samplers=tuple(phrases), output=tmp_path, run=run)):
        finish(config)
    compare.main(["--run.samples", "2", "--run.limit", "12", "--output", str(tmp_path), "--samplers", *phrases])
    assert "temperature 1, top_p 0.9, max_tokens 512 (run.json)" in " ".join(capsys.readouterr().out.split())


class Remembers:
    """A logger of one run, for tests of what it is told."""

    told: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, run: LoggedRun) -> None:
        self._name = run.name

    def log(self, step: int, curves: Curves) -> None:
        raise AssertionError("these runs are finished")

    def add(self, results: Curves, files: Sequence[Path]) -> None:
        self.told += [(self._name, name) for name in [*list(results)[:1], *(file.name for file in files)]]

    def close(self, status: Status) -> None:
        self.told.append((self._name, status))


def test_one_command_ends_in_one_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOGGERS, "mlflow", Remembers)
    command = CompareCommand(seeds=(0, 1), output=tmp_path, run=replace(SHARED, samples=2, limit=12))
    for config in comparison_runs(command):
        finish(config)
    flags = ["--run.samples", "2", "--run.limit", "12", "--seeds", "0", "1", "--output", str(tmp_path)]
    compare.main([*flags, "--log-to", "mlflow"])
    told = " ".join(capsys.readouterr().out.split())
    assert "esamp (beta 0.25) beats vanilla at k = 1, 2. pass@2 is 100.0% against 0.0%" in told
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "esamp-1" / "summary.json").is_file()
    one = ["result/pass_at_1", "summary.txt", "summary.json", "finished"]
    names = ["vanilla-0", "vanilla-1", "esamp-0", "esamp-1"]
    assert Remembers.told == [
        *((name, what) for name in names for what in one),
        *((name, what) for name in names for what in ("report.html", "finished")),
    ], "each run is logged, and the report is kept with each"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--samplers", "vanilla", "greedy"], "got 'greedy'"),
        (["--samplers", "esamp", "esamp"], "each once"),
        (["--samplers", "esamp", "esamp, beta=0.25"], "'esamp' and 'esamp, beta=0.25' are the same"),
        (["--samplers", "esamp, distiler=rls"], "sampler esamp has no setting 'distiler'; known are beta, scope"),
        (["--samplers", "vanilla, beta=1"], "sampler vanilla has no setting 'beta'; known are temperature"),
        (["--samplers", "esamp, distiller=cnn"], "distiller must be one of mlp, rls; got 'cnn'"),
        (["--samplers", "esamp, beta=big"], "beta must be a number (float); got 'big'"),
        (["--samplers", "esamp, rls"], 'settings such as "esamp, distiller=rls"'),
        (["--samplers", "vanilla, temperature=0"], "temperature must be finite and > 0"),
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
