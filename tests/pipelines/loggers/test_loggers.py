"""Loggers get a run's curves and results, go on in later sessions, and never end a run. The packages' own behaviour is in the slow tier."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import InputError, RunError, Terminated
from pipelines.live.progress_file import RunProgress
from pipelines.loggers.registry import LOGGERS, LoggedRun, start_loggers
from pipelines.loggers.results import log_report
from pipelines.loggers.run_logger import CURVES, Curves, RunLogger, RunLoggers, Status
from pipelines.runs.folder import RunFolder


class MemoryLogger:
    """Keeps what it is told; fails from a step on."""

    def __init__(self, *, fails_from: int = 1_000) -> None:
        self.steps: list[int] = []
        self.results: Curves = {}
        self.status: Status | None = None
        self._fails_from = fails_from

    def log(self, step: int, curves: Curves) -> None:
        if step >= self._fails_from:
            raise ConnectionError("the service is down")
        assert set(curves) == set(CURVES)
        self.steps.append(step)

    def add(self, results: Curves, files: Sequence[Path]) -> None:
        self.results = results

    def close(self, status: Status) -> None:
        self.status = status


def poll(samples: int) -> RunProgress:
    return RunProgress(
        phase="generating", at=1e9, seconds=1.0, samples=samples, samples_planned=8, problems_planned=2, solved=1
    )


def run_in(folder: Path) -> LoggedRun:
    return LoggedRun(name="x", run_id="abc123def456", settings={"samples": 4, "engine": {"num_gpus": 1}}, folder=folder)


def test_a_logger_that_fails_is_left_out_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    down, up = MemoryLogger(fails_from=2), MemoryLogger()
    loggers = RunLoggers({"wandb": down, "mlflow": up})
    with caplog.at_level(logging.WARNING), loggers:
        for samples in (0, 1, 1, 2, 4):
            loggers(poll(samples))
        loggers.add({"result/pass_at_1": 0.5}, [])
    assert (down.steps, up.steps) == ([0, 1], [0, 1, 2, 4])
    assert (down.results, up.results) == ({}, {"result/pass_at_1": 0.5})
    assert (down.status, up.status) == (None, "finished")
    assert [record.message for record in caplog.records] == [
        "--log-to wandb failed and is left out from here on: the service is down"
    ]


@pytest.mark.parametrize(
    ("end", "status"),
    [(RunError("no shard is left"), "failed"), (Terminated(), "stopped"), (KeyboardInterrupt(), "stopped")],
)
def test_a_run_that_did_not_reach_its_end_closes_its_loggers_with_how_it_ended(
    end: BaseException, status: Status
) -> None:
    """An open run of a service looks as if it still went on."""
    of_run = MemoryLogger()
    with pytest.raises(type(end)), RunLoggers({"mlflow": of_run}):
        raise end
    assert of_run.status == status


def test_the_report_is_kept_with_each_run_and_a_logger_that_cannot_start_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[tuple[str, list[Path]]] = []

    class Keeps(MemoryLogger):
        def __init__(self, run: LoggedRun) -> None:
            super().__init__()
            self._run = run

        def add(self, results: Curves, files: Sequence[Path]) -> None:
            kept.append((self._run.run_id, list(files)))

    monkeypatch.setitem(LOGGERS, "mlflow", Keeps)
    old_run = RunFolder(Path(__file__).parents[1] / "runs" / "old_run")
    page = tmp_path / "report.html"
    log_report(["mlflow"], [old_run, old_run], page)
    assert kept == [(old_run.manifest().run_id, [page])] * 2

    def down(run: LoggedRun) -> RunLogger:
        raise ConnectionError("the service is down")

    monkeypatch.setitem(LOGGERS, "mlflow", down)
    with caplog.at_level(logging.WARNING):
        log_report(["mlflow"], [old_run], page)
    assert "is not logged: --log-to mlflow cannot start: the service is down" in caplog.text


def test_a_package_that_is_missing_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(run: LoggedRun) -> RunLogger:
        raise ModuleNotFoundError("No module named 'wandb'")

    monkeypatch.setitem(LOGGERS, "wandb", missing)
    with pytest.raises(InputError, match=r'pip install "\.\[wandb\]" in the checkout'):
        start_loggers(["wandb"], run_in(tmp_path))
    with pytest.raises(InputError, match="log_to must be of wandb, mlflow, tensorboard; got 'neptune'"):
        start_loggers(["neptune"], run_in(tmp_path))


def log_sessions(name: str, folder: Path) -> Iterator[None]:
    """A run of two sessions, the first stopped, the second with results and a file; then its report. Yields after the first."""
    file, report = folder / "summary.txt", folder / "report.html"
    file.write_text("pass@1 50%")
    report.write_text("<html></html>")
    with suppress(KeyboardInterrupt), start_loggers([name], run_in(folder)) as loggers:
        for step in (1, 2):
            loggers(poll(step))
        raise KeyboardInterrupt
    yield
    with start_loggers([name], run_in(folder)) as loggers:
        for step in (3, 4):
            loggers(poll(step))
        loggers.add({"result/pass_at_1": 0.5}, [file])
    with start_loggers([name], run_in(folder)) as loggers:
        loggers.add({}, [report])


@pytest.mark.slow
def test_mlflow_keeps_both_sessions_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    client = mlflow.MlflowClient()
    for _ in log_sessions("mlflow", tmp_path):
        [run] = client.search_runs([client.get_experiment_by_name("esamp").experiment_id])
        assert run.info.status == "KILLED"
    [run] = client.search_runs([client.get_experiment_by_name("esamp").experiment_id])
    assert run.data.params["engine.num_gpus"] == "1" and run.data.metrics["result/pass_at_1"] == 0.5
    assert [point.step for point in client.get_metric_history(run.info.run_id, "run/samples")] == [1, 2, 3, 4]
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id)] == ["report.html", "summary.txt"]
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_tensorboard_reads_both_sessions(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    list(log_sessions("tensorboard", tmp_path))
    events: Any = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("run/samples")] == [1, 2, 3, 4]
    assert events.Scalars("result/pass_at_1")[0].value == 0.5


@pytest.mark.slow
def test_wandb_keeps_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    list(log_sessions("wandb", tmp_path))
    runs = sorted((tmp_path / "wandb").glob("offline-run-*-abc123def456"))
    assert runs and all(list(run.glob("*.wandb")) for run in runs)
    assert json.dumps([run.name for run in runs]).count("abc123def456") == len(runs)
