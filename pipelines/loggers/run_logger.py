"""What every logger does, and the one rule: a logger that fails is warned of once and left out, and the run goes on."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

from pipelines.live.progress_file import RunProgress

logger = logging.getLogger(__name__)

Status = Literal["finished", "stopped", "failed"]
"""How a session ended: at its end, by a signal, by an error."""
Curves = dict[str, float]
CURVES: dict[str, Callable[[RunProgress], float]] = {
    "run/samples": lambda run: run.samples,
    "run/problems": lambda run: run.problems,
    "run/solved": lambda run: run.solved,
    "run/solved_share": lambda run: run.solved / run.problems_planned if run.problems_planned else 0.0,
    "run/truncated_share": lambda run: run.truncated_share,
    "run/errors": lambda run: run.errors,
    "run/timeouts": lambda run: run.timeouts,
    "engine/tokens": lambda run: run.tokens,
    "engine/tokens_per_s": lambda run: run.tokens_per_s,
    "engine/requests_running": lambda run: run.running,
    "engine/requests_waiting": lambda run: run.waiting,
    "engine/kv_cache_share": lambda run: run.kv_cache_share,
    "fleet/shards_live": lambda run: run.live_shards,
}
"""Drawn over the number of samples that have ended, so that curves of runs on different machines lie over each other."""


class RunLogger(Protocol):
    """One service. Its methods may raise whatever the service's package raises."""

    def log(self, step: int, curves: Curves) -> None:
        """Numbers at a step: the samples that have ended. Steps do not fall."""
        ...

    def add(self, results: Curves, files: Sequence[Path]) -> None:
        """The run's results, such as pass@k, and files to keep with them."""
        ...

    def close(self, status: Status) -> None:
        """The session has ended."""
        ...


class RunLoggers:
    """The loggers of one run, fed by the driver's poll. The end of the `with` block closes them, with how it ended."""

    def __init__(self, loggers: dict[str, RunLogger]) -> None:
        self._loggers = dict(loggers)
        self._step = -1

    def __call__(self, progress: RunProgress) -> None:
        """Log one poll. One without a new sample is left out: it has no step of its own."""
        if progress.samples <= self._step:
            return
        self._step = progress.samples
        curves = {name: float(value(progress)) for name, value in CURVES.items()}
        self._each(lambda of_run: of_run.log(self._step, curves))

    def add(self, results: Curves, files: Sequence[Path]) -> None:
        """Log the results, and keep the files."""
        self._each(lambda of_run: of_run.add(results, files))

    def __enter__(self) -> "RunLoggers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        status: Status = "finished"
        if value is not None:
            status = "stopped" if isinstance(value, KeyboardInterrupt) else "failed"
        self._each(lambda of_run: of_run.close(status))

    def _each(self, call: Callable[[RunLogger], Any]) -> None:
        for name, of_run in list(self._loggers.items()):
            try:
                call(of_run)
            except Exception as error:
                # The error boundary: a service that is down, or full, must not end a run that does not need it.
                logger.warning(
                    "--log-to %s failed and is left out from here on: %s", name, " ".join(str(error).split())
                )
                del self._loggers[name]
