"""Loggers get a run's curves and results, go on in later sessions, and never end a run. The packages' own behaviour is in the slow tier."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import InputError
from pipelines.live.progress_file import RunProgress
from pipelines.loggers.registry import LOGGERS, LoggedRun, start_loggers
from pipelines.loggers.run_logger import CURVES, Curves, RunLogger, RunLoggers


class MemoryLogger:
    """Keeps what it is told; fails from a step on."""

    def __init__(self, *, fails_from: int = 1_000) -> None:
        self.steps: list[int] = []
        self.results: Curves = {}
        self._fails_from = fails_from

    def log(self, step: int, curves: Curves) -> None:
        if step >= self._fails_from:
            raise ConnectionError("the service is down")
        assert set(curves) == set(CURVES)
        self.steps.append(step)

    def finish(self, results: Curves, files: Sequence[Path]) -> None:
        self.results = results


def poll(samples: int) -> RunProgress:
    return RunProgress(
        phase="generating", at=1e9, seconds=1.0, samples=samples, samples_planned=8, problems_planned=2, solved=1
    )


def run_in(folder: Path) -> LoggedRun:
    return LoggedRun(name="x", run_id="abc123def456", settings={"samples": 4, "engine": {"num_gpus": 1}}, folder=folder)


def test_a_logger_that_fails_is_left_out_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    down, up = MemoryLogger(fails_from=2), MemoryLogger()
    loggers = RunLoggers({"wandb": down, "mlflow": up})
    with caplog.at_level(logging.WARNING):
        for samples in (0, 1, 1, 2, 4):
            loggers(poll(samples))
        loggers.finish({"result/pass_at_1": 0.5}, [])
    assert (down.steps, up.steps) == ([0, 1], [0, 1, 2, 4])
    assert (down.results, up.results) == ({}, {"result/pass_at_1": 0.5})
    assert [record.message for record in caplog.records] == [
        "--log-to wandb failed and is left out from here on: the service is down"
    ]


def test_a_package_that_is_missing_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(run: LoggedRun) -> RunLogger:
        raise ModuleNotFoundError("No module named 'wandb'")

    monkeypatch.setitem(LOGGERS, "wandb", missing)
    with pytest.raises(InputError, match=r'pip install "esamp-ray\[wandb\]"'):
        start_loggers(["wandb"], run_in(tmp_path))
    with pytest.raises(InputError, match="log_to must be of wandb, mlflow, tensorboard; got 'neptune'"):
        start_loggers(["neptune"], run_in(tmp_path))


def log_two_sessions(name: str, folder: Path) -> None:
    """A run of two sessions, the second with results and a file."""
    file = folder / "summary.txt"
    file.write_text("pass@1 50%")
    for steps, results in (((1, 2), {}), ((3, 4), {"result/pass_at_1": 0.5})):
        loggers = start_loggers([name], run_in(folder))
        for step in steps:
            loggers(poll(step))
        loggers.finish(results, [file])


@pytest.mark.slow
def test_mlflow_keeps_both_sessions_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    log_two_sessions("mlflow", tmp_path)
    client = mlflow.MlflowClient()
    [run] = client.search_runs([client.get_experiment_by_name("esamp").experiment_id])
    assert run.data.params["engine.num_gpus"] == "1" and run.data.metrics["result/pass_at_1"] == 0.5
    assert [point.step for point in client.get_metric_history(run.info.run_id, "run/samples")] == [1, 2, 3, 4]
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id)] == ["summary.txt"]


@pytest.mark.slow
def test_tensorboard_reads_both_sessions(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log_two_sessions("tensorboard", tmp_path)
    events: Any = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("run/samples")] == [1, 2, 3, 4]
    assert events.Scalars("result/pass_at_1")[0].value == 0.5


@pytest.mark.slow
def test_wandb_keeps_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_two_sessions("wandb", tmp_path)
    runs = sorted((tmp_path / "wandb").glob("offline-run-*-abc123def456"))
    assert runs and all(list(run.glob("*.wandb")) for run in runs)
    assert json.dumps([run.name for run in runs]).count("abc123def456") == len(runs)
