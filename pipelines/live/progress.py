"""Progress of a session: counted in an actor, joined with what the shards do now and what earlier sessions left, and shown.

    VerifySamples --FinishedSample--> Progress --Counts-----+
    ShardActor ----------------ShardActivity----------------+--> LiveProgress --RunProgress--> panel or line, progress.json
    ShardRouter ---------------RouterCounts-----------------+      (driver)
    run folder ----------------RunPosition------------------+

The parts: counts.py, shard_activities.py, position.py; run_progress.py joins them.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from rich.console import Console
from rich.live import Live

from actors.types import RouterCounts
from pipelines.live.background_thread import BackgroundThread
from pipelines.live.counts import Counts
from pipelines.live.position import RunPosition
from pipelines.live.progress_file import Phase, RunProgress
from pipelines.live.progress_line import progress_line, progress_panel
from pipelines.live.run_progress import run_progress
from pipelines.live.shard_activities import ShardActivities, Shards
from pipelines.live.warning_lines import WarningLines
from pipelines.logs.console import LogLine

logger = logging.getLogger(__name__)

LIVE_INTERVAL_S = 0.5
"""Between two looks at the run where standard output is a terminal."""
LOG_INTERVAL_S = 10.0
"""Between the first plain lines, where standard output is no terminal. The interval grows to LOG_SHARE of the time passed, and to
LONGEST_LOG_INTERVAL_S at most: a run of a day has some 200 lines."""
LOG_SHARE = 0.05
LONGEST_LOG_INTERVAL_S = 600.0
FILE_INTERVAL_S = 5.0
"""Between two writes of progress.json: on an object store each is a request."""
IN_LINES_OF_THEIR_OWN = ("at", "warnings", "shards")
"""Of RunProgress: not among the numbers of a JSON line. Numbers of each shard are among the metrics."""


@dataclass(slots=True)
class Followed:
    """What a LiveProgress looks at while samples are generated or scored."""

    progress: ActorHandle
    position: RunPosition
    router: ActorHandle | None = None
    activities: ShardActivities | None = None
    started: float = field(default_factory=time.monotonic)


class LiveProgress:
    """Shows how a session goes while the `with` block runs: that the model is loaded, then what `following` names."""

    def __init__(self, *, console: Console) -> None:
        self._console = console
        self.warnings = WarningLines(console)
        self._started = time.monotonic()
        self._followed: Followed | None = None
        self._sink: Callable[[RunProgress], None] | None = None
        self._latest = RunProgress(phase="loading", at=time.time(), seconds=0.0)
        self._last_write = -math.inf
        # One look at a time: the thread's, or the last one when following ends.
        self._lock = threading.Lock()
        self._thread = BackgroundThread(self._show, name="progress")

    def __enter__(self) -> "LiveProgress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.end()

    @contextmanager
    def following(
        self,
        progress: ActorHandle,
        *,
        position: RunPosition,
        router: ActorHandle | None = None,
        fleet: Shards | None = None,
        sink: Callable[[RunProgress], None] | None = None,
    ) -> Iterator["LiveProgress"]:
        """Show what these do while the block runs, and its end. `sink` is given the progress every few seconds, for progress.json."""
        activities = None if fleet is None else ShardActivities(fleet)
        with self._lock:
            self._followed = Followed(progress, position, router, activities)
            self._sink = sink
        try:
            yield self
        finally:
            # Ends here, since actors end next.
            self._thread.end()

    def counts(self) -> Counts:
        """The session's counts now."""
        assert self._followed is not None
        counts: Counts = ray.get(self._followed.progress.counts.remote())
        return counts

    def look(self, *, phase: Phase = "generating") -> RunProgress:
        """How the session goes now."""
        with self._lock:
            if self._followed is None:
                return RunProgress(phase="loading", at=time.time(), seconds=time.monotonic() - self._started)
            try:
                self._latest = self._look(self._followed, phase)
            except RayError as error:
                # The session ends because its actors are lost, and says why; here the last numbers stand.
                logger.warning("the progress of the session is unknown: %s", error)
                self._latest = replace(self._latest, phase=phase)
            self._write(self._latest)
            return self._latest

    def _look(self, followed: Followed, phase: Phase) -> RunProgress:
        router_counts = RouterCounts() if followed.router is None else ray.get(followed.router.counts.remote())
        self.warnings.show(router_counts.warnings)
        if followed.activities is not None:
            followed.activities.poll()
        return run_progress(
            followed.position,
            self.counts(),
            router_counts,
            followed.activities,
            seconds=time.monotonic() - followed.started,
            phase=phase,
            warnings=self.warnings.latest,
        )

    def _write(self, progress: RunProgress) -> None:
        now = time.monotonic()
        if self._sink is None or (now - self._last_write < FILE_INTERVAL_S and progress.phase != "ended"):
            return
        self._last_write = now
        try:
            self._sink(progress)
        except OSError as error:
            # A full disk ends the run where samples are written, with a line that says so; progress that is not shown must not.
            logger.warning("progress was not written: %s", error)

    def _show(self) -> None:
        if self._console.is_terminal:
            self._show_panel()
        else:
            self._print_lines()

    def _show_panel(self) -> None:
        with Live(console=self._console, auto_refresh=False) as live:
            while not self._thread.wait(LIVE_INTERVAL_S):
                live.update(progress_panel(self.look()), refresh=True)
            if self._followed is not None:
                live.update(progress_panel(self.look(phase="ended")), refresh=True)

    def _print_lines(self) -> None:
        # From the first second: a model takes minutes to load, and a log that says nothing looks like one that stands still.
        due, phase = 1.0, "loading"
        while not self._thread.wait(LIVE_INTERVAL_S if self._sink is None else 2 * LIVE_INTERVAL_S):
            passed = time.monotonic() - self._started
            progress = self.look()
            if passed >= due or (progress.phase != phase and progress.tokens):
                self._print(progress)
                due, phase = passed + log_interval(passed), progress.phase
        if self._followed is not None:
            self._print(self.look(phase="ended"))

    def _print(self, progress: RunProgress) -> None:
        text = progress_line(progress)
        numbers = {name: value for name, value in asdict(progress).items() if name not in IN_LINES_OF_THEIR_OWN}
        self._console.print(
            LogLine(text=text, message=text, fields={"progress": numbers}), soft_wrap=True, highlight=False
        )


def log_interval(passed: float) -> float:
    """Seconds until the next line of a log, `passed` seconds after the first."""
    return min(max(LOG_INTERVAL_S, LOG_SHARE * passed), LONGEST_LOG_INTERVAL_S)
