"""The loggers by the name that --log-to takes: one entry each."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config.yaml_flags import flatten
from pipelines.errors import InputError
from pipelines.loggers.run_logger import Curves, RunLogger, RunLoggers, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedRun:
    """What a logger knows of a run when it starts."""

    name: str
    """Name of the run's folder."""
    run_id: str
    """The same in every session of a run."""
    settings: dict[str, Any]
    """RunConfig.to_dict()."""
    folder: Path
    """Where services that keep local files put them: a folder of the driver's machine."""


SHOWN_AS_TEXT = (".md", ".txt", ".json")
"""TensorBoard keeps no other files."""
MLFLOW_STATUS: dict[Status, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class TensorBoardLogger:
    """Event files in a folder beside the run's: `tensorboard --logdir runs`."""

    def __init__(self, run: LoggedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(log_dir=str(run.folder / "tensorboard"))
        self._writer.add_text("settings", str(run.settings))

    def log(self, step: int, curves: Curves) -> None:
        for name, value in curves.items():
            self._writer.add_scalar(name, value, step)

    def add(self, results: Curves, files: Sequence[Path]) -> None:
        for name, value in results.items():
            self._writer.add_scalar(name, value, 0)
        for file in files:
            if file.suffix in SHOWN_AS_TEXT:
                self._writer.add_text(file.name, file.read_text())

    def close(self, status: Status) -> None:
        self._writer.add_text("status", status)
        self._writer.close()


class MlflowLogger:
    """A run of the experiment "esamp", on the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, run: LoggedRun) -> None:
        import mlflow

        self._client = mlflow.MlflowClient()
        experiment = self._client.get_experiment_by_name("esamp")
        experiment_id = self._client.create_experiment("esamp") if experiment is None else experiment.experiment_id
        # Sessions of one run go on in one MLflow run.
        found = self._client.search_runs([experiment_id], filter_string=f"tags.`esamp.run_id` = '{run.run_id}'")
        created = (
            found[0]
            if found
            else self._client.create_run(experiment_id, run_name=run.name, tags={"esamp.run_id": run.run_id})
        )
        self._run_id = created.info.run_id
        self._client.update_run(self._run_id, status="RUNNING")  # a session before may have failed
        if not found:
            for name, value in flatten(run.settings).items():
                self._client.log_param(self._run_id, name, value)

    def log(self, step: int, curves: Curves) -> None:
        for name, value in curves.items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def add(self, results: Curves, files: Sequence[Path]) -> None:
        for name, value in results.items():
            self._client.log_metric(self._run_id, name, value)
        for file in files:
            self._client.log_artifact(self._run_id, str(file))

    def close(self, status: Status) -> None:
        self._client.set_terminated(self._run_id, status=MLFLOW_STATUS[status])


class WandbLogger:
    """A run of the project that WANDB_PROJECT names ("esamp"); WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, run: LoggedRun) -> None:
        import wandb

        run.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "esamp"),
            name=run.name,
            id=run.run_id,
            resume="allow",
            config=run.settings,
            dir=str(run.folder),
            settings=wandb.Settings(silent=True),
        )

    def log(self, step: int, curves: Curves) -> None:
        self._run.log(curves, step=step)

    def add(self, results: Curves, files: Sequence[Path]) -> None:
        self._run.summary.update(results)
        for file in files:
            self._run.save(str(file), base_path=str(file.parent), policy="now")

    def close(self, status: Status) -> None:
        self._run.summary.update({"session": status})
        # The service knows a run as finished or failed; one that was stopped lacks results all the same.
        self._run.finish(exit_code=0 if status == "finished" else 1)


LOGGERS: dict[str, Callable[[LoggedRun], RunLogger]] = {
    "wandb": WandbLogger,
    "mlflow": MlflowLogger,
    "tensorboard": TensorBoardLogger,
}
"""Each needs the extra of its name: pip install ".[mlflow]" in the checkout."""


def start_loggers(names: Sequence[str], run: LoggedRun) -> RunLoggers:
    """The loggers of a run, started. Raises InputError if one does not exist, its package is missing, or it cannot start: before the run
    has begun that is a mistake that can be put right."""
    started: dict[str, RunLogger] = {}
    for name in names:
        if name not in LOGGERS:
            raise InputError(f"log_to must be of {', '.join(LOGGERS)}; got {name!r}.")
        try:
            started[name] = LOGGERS[name](run)
        except ImportError as error:
            raise InputError(
                f'--log-to {name} needs a package: pip install ".[{name}]" in the checkout ({error}).'
            ) from error
        except Exception as error:
            raise InputError(f"--log-to {name} cannot start: {' '.join(str(error).split())}") from error
    return RunLoggers(started)
