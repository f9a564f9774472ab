"""Progress of a session: counted in an actor, shown in the driver as one live line, or as a plain line now and then in a log.

problems 12/32 | samples 192 | solved 9 | 1,840 tokens/s | errors 0 | ETA 0:41
problems 12/32 | samples 192 | solved 9 | 1,840 tokens/s | errors 0 | ETA 0:41 | only 1 of 2 shards live
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from rich.console import Console
from rich.live import Live
from rich.text import Text

from actors.types import ActorWarning, RouterCounts
from pipelines.runs.finished_sample import FinishedSample

LIVE_INTERVAL_S = 0.5
LOG_INTERVAL_S = 10.0
"""Between plain lines, where standard output is no terminal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What a session has done so far."""

    problems_expected: int = 0
    """Problems of this session, as far as they are known."""
    problems: int = 0
    """Problems all of whose samples have a verdict, or that stopped."""
    samples: int = 0
    solved: int = 0
    """Problems with at least one correct sample."""
    tokens: int = 0
    errors: int = 0
    """Samples that could not be generated, or not be scored."""


class Progress:
    """Counts finished samples. A Ray actor, told by the last stage of the pipeline."""

    def __init__(self) -> None:
        self._missing: Counter[str] = Counter()
        self._solved: set[str] = set()
        self._samples = self._tokens = self._errors = 0

    def expect(self, units: pa.Table) -> None:
        """Work units that this session draws: problem_id, and the number of samples."""
        for problem_id, samples in zip(units["problem_id"].to_pylist(), units["samples"].to_pylist(), strict=True):
            self._missing[problem_id] += samples

    def add(self, samples: Sequence[FinishedSample]) -> None:
        """Count samples that have their verdict."""
        for sample in samples:
            self._missing[sample.problem_id] -= 1
            self._samples += 1
            self._tokens += sample.num_tokens
            self._errors += sample.is_error
            if sample.is_correct:
                self._solved.add(sample.problem_id)

    def stop(self, problem_id: str) -> None:
        """Nothing more of this problem is expected."""
        self._missing[problem_id] = 0

    def counts(self) -> Counts:
        """The state now."""
        return Counts(
            problems_expected=len(self._missing),
            problems=sum(missing <= 0 for missing in self._missing.values()),
            samples=self._samples,
            solved=len(self._solved),
            tokens=self._tokens,
            errors=self._errors,
        )


class WarningLines:
    """Prints what actors warn of above the progress line: each actor's kind of warning once, and again at ten times the count."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[tuple[str, str], int] = {}

    def show(self, warnings: Sequence[ActorWarning]) -> None:
        """Print those that were not shown yet. A long run would repeat some of them every half second."""
        for warning in warnings:
            key = (warning.source, warning.kind)
            if warning.count >= 10 * self._shown.get(key, 0) or key not in self._shown:
                self._shown[key] = warning.count
                text = (
                    f"warning: {warning.source}: {warning.message} ({warning.kind.replace('_', ' ')}: {warning.count})"
                )
                self._console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


class LiveProgress:
    """Shows a Progress actor's counts while the `with` block runs; with a ShardRouter also which of its shards are missing."""

    def __init__(self, progress: ActorHandle, *, router: ActorHandle | None = None, console: Console) -> None:
        self._progress = progress
        self._router = router
        self._console = console
        self.warnings = WarningLines(console)
        self._started = time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> "LiveProgress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def counts(self) -> Counts:
        """The counts now."""
        counts: Counts = ray.get(self._progress.counts.remote())
        return counts

    def _show(self) -> None:
        if self._console.is_terminal:
            with Live(console=self._console, auto_refresh=False) as live:
                while not self._is_over.wait(LIVE_INTERVAL_S):
                    live.update(Text(self._line()), refresh=True)
                live.update(Text(self._line()), refresh=True)
        else:
            while not self._is_over.wait(LOG_INTERVAL_S):
                self._console.print(self._line(), soft_wrap=True, highlight=False)
            self._console.print(self._line(), soft_wrap=True, highlight=False)

    def _line(self) -> str:
        router_counts = RouterCounts() if self._router is None else ray.get(self._router.counts.remote())
        self.warnings.show(router_counts.warnings)
        return progress_line(self.counts(), router_counts, seconds=time.monotonic() - self._started)


def progress_line(counts: Counts, router_counts: RouterCounts, *, seconds: float) -> str:
    """The line shown after `seconds` of a session."""
    remaining = counts.problems_expected - counts.problems
    eta = clock(seconds / counts.problems * remaining) if counts.problems else "-"
    missing = (
        f" | only {router_counts.live_shards} of {router_counts.shards} shards live"
        if router_counts.live_shards < router_counts.shards
        else ""
    )
    return (
        f"problems {counts.problems}/{counts.problems_expected} | samples {counts.samples} | solved {counts.solved} | "
        f"{counts.tokens / seconds:,.0f} tokens/s | errors {counts.errors} | ETA {eta}{missing}"
    )


def clock(seconds: float) -> str:
    """3725 -> "1:02:05", 65 -> "1:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def run_console() -> Console:
    """Where a run talks to its user."""
    return Console(file=sys.stdout)
