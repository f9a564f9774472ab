"""The progress line of a grading: live in a terminal, a plain line now and then in a log.

replies 192/640 | correct 88 | problems solved 41 | 12.4/s | ETA 0:36
"""

import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipelines.grading.verdicts_file import GradedRow
from pipelines.verifiers.verdict import VerdictStatus

LOG_INTERVAL_S = 10.0
"""Between plain lines, where standard output is no terminal."""


class GradeProgress:
    """Counts verdicts and shows the line. A context manager."""

    def __init__(self, before: Iterable[GradedRow], total: int, console: Console) -> None:
        """`before`: verdicts of an earlier command, which count, but not for the speed."""
        self._total = total
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._replies = self._correct = 0
        self._solved: set[str] = set()
        for row in before:
            self._count(row)
        self._from_before = self._replies
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> "GradeProgress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self._console.print(self.line(), highlight=False)

    def add(self, row: GradedRow) -> None:
        """Count a verdict, and show the line if it is time."""
        self._count(row)
        if self._live is not None:
            self._live.update(Text(self.line()))
        elif time.monotonic() - self._shown >= LOG_INTERVAL_S:
            self._shown = time.monotonic()
            self._console.print(self.line(), highlight=False)

    def line(self) -> str:
        """The line as it stands."""
        done = self._replies - self._from_before
        speed = done / max(time.monotonic() - self._started, 1e-9)
        minutes, seconds = divmod(round((self._total - self._replies) / speed), 60) if done else (0, 0)
        eta = f"{minutes}:{seconds:02}" if done or self._replies == self._total else "-"
        return (
            f"replies {self._replies}/{self._total} | correct {self._correct} | problems solved {len(self._solved)} | "
            f"{speed:.1f}/s | ETA {eta}"
        )

    def _count(self, row: GradedRow) -> None:
        self._replies += 1
        if row.status == VerdictStatus.CORRECT:
            self._correct += 1
            self._solved.add(row.task_id)
