"""Progress of a session: counted in an actor, joined with what the shards do now and what earlier sessions left, and shown.

    VerifySamples --FinishedSample--> Progress --Counts-----+
    ShardActor ----------------ShardActivity----------------+--> LiveProgress --RunProgress--> panel or line, progress.json
    ShardRouter ---------------RouterCounts-----------------+      (driver)
    run folder ----------------RunPosition------------------+

Shards are asked without waiting: one that loads its model or does not answer is left out until it does.
"""

import logging
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol

import pyarrow as pa
import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError
from rich.console import Console
from rich.live import Live

from actors.types import RouterCounts, ShardActivity
from pipelines.live.position import RunPosition
from pipelines.live.progress_file import Eta, Phase, RunProgress, ShardProgress
from pipelines.live.progress_line import progress_line, progress_panel
from pipelines.live.warning_lines import WarningLines
from pipelines.runs.finished_sample import FinishedSample

logger = logging.getLogger(__name__)

LIVE_INTERVAL_S = 0.5
"""Between two looks at the run where standard output is a terminal."""
LOG_INTERVAL_S = 10.0
"""Between the first plain lines, where standard output is no terminal. The interval grows to LOG_SHARE of the time passed, and to
LONGEST_LOG_INTERVAL_S at most: a run of a day has some 200 lines."""
LOG_SHARE = 0.05
LONGEST_LOG_INTERVAL_S = 600.0
RATE_WINDOW_S = 5.0
"""What "now" means in tokens per second."""
FILE_INTERVAL_S = 5.0
"""Between two writes of progress.json: on an object store each is a request."""
ACTIVITY_TIMEOUT_S = 0.3
"""How long one look waits for the shards' numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What a session has done so far."""

    problems_missing: int = 0
    """Problems that still lack a sample."""
    samples: int = 0
    """Samples that have their verdict, those that were made again too."""
    new_samples: int = 0
    """Those of them that the run lacked."""
    newly_solved: int = 0
    """Problems whose first correct sample came in this session."""
    tokens: int = 0
    squared_tokens: int = 0
    """Sum of the squares of the answers' lengths."""
    errors: int = 0
    """Samples that could not be generated, or not be scored."""
    truncated: int = 0
    timeouts: int = 0


class Progress:
    """Counts finished samples. A Ray actor, told by the last stage of the pipeline."""

    def __init__(self) -> None:
        self._missing: dict[str, int] = {}
        self._solved: set[str] = set()
        self._newly_solved: set[str] = set()
        self._samples = self._new = self._tokens = self._squared = self._errors = self._truncated = self._timeouts = 0

    def expect(self, missing: pa.Table) -> None:
        """Samples that this session generates: RunPosition.missing. One bit a sample is kept."""
        for problem_id, indices, is_solved in zip(
            missing["problem_id"].to_pylist(), missing["missing"], missing["solved"].to_pylist(), strict=True
        ):
            self._missing[problem_id] = sum(1 << index for index in indices.as_py())
            if is_solved:
                self._solved.add(problem_id)

    def add(self, samples: Sequence[FinishedSample]) -> None:
        """Count samples that have their verdict."""
        for sample in samples:
            bit = 1 << sample.sample_index
            # A work unit that is run again gives samples that are there already.
            self._new += bool(self._missing.get(sample.problem_id, bit) & bit)
            self._missing[sample.problem_id] = self._missing.get(sample.problem_id, 0) & ~bit
            self._samples += 1
            self._tokens += sample.num_tokens
            self._squared += sample.num_tokens**2
            self._errors += sample.is_error
            self._truncated += sample.is_truncated
            self._timeouts += sample.is_timeout
            if sample.is_correct and sample.problem_id not in self._solved:
                self._newly_solved.add(sample.problem_id)

    def stop(self, problem_id: str) -> None:
        """Nothing more of this problem is expected."""
        self._missing[problem_id] = 0

    def counts(self) -> Counts:
        """The state now."""
        return Counts(
            problems_missing=sum(mask != 0 for mask in self._missing.values()),
            samples=self._samples,
            new_samples=self._new,
            newly_solved=len(self._newly_solved),
            tokens=self._tokens,
            squared_tokens=self._squared,
            errors=self._errors,
            truncated=self._truncated,
            timeouts=self._timeouts,
        )


class Shards(Protocol):
    """Whose shards are asked what they do: a fleet, which may grow meanwhile."""

    shards: list[ActorHandle]


class TokenRate:
    """Tokens per second over the last RATE_WINDOW_S: a step on a CPU may take longer than the time between two looks."""

    def __init__(self) -> None:
        self._tokens = 0
        self._history: deque[tuple[float, int]] = deque()

    def add(self, tokens: int, *, at: float) -> None:
        """So many more, `at` a time of the monotonic clock."""
        self._tokens += tokens
        self._history.append((at, self._tokens))
        # Two entries at least, and one that is as old as the window.
        while len(self._history) > 2 and at - self._history[1][0] >= RATE_WINDOW_S:
            self._history.popleft()

    @property
    def per_second(self) -> float:
        """0 before the second look."""
        (start, before), (end, after) = self._history[0], self._history[-1]
        return (after - before) / (end - start) if end > start else 0.0


class ShardActivities:
    """The newest activity of every shard, and its tokens per second. Shards are asked again once they have answered."""

    def __init__(self, fleet: Shards) -> None:
        self._fleet = fleet
        self._calls: dict[ActorHandle, ObjectRef] = {}
        self._latest: dict[ActorHandle, ShardActivity] = {}
        self._rates: dict[ActorHandle, TokenRate] = {}
        self.tokens = self.preemptions = self.finished = self.truncated = 0
        """Over the session: a shard that is started again counts from 0, what it had counted stays."""

    def poll(self) -> None:
        """Ask every shard that has answered the last time; take the answers that are there."""
        for shard in list(self._fleet.shards):
            if shard not in self._calls:
                self._calls[shard] = shard.activity.remote()
        calls = list(self._calls.items())
        ready, _ = (
            ray.wait([call for _, call in calls], num_returns=len(calls), timeout=ACTIVITY_TIMEOUT_S)
            if calls
            else ([], [])
        )
        for shard, call in calls:
            if call in ready:
                del self._calls[shard]
                try:
                    self._take(shard, ray.get(call))
                except RayError:
                    # A shard that restarts or failed: the router says so, and its last numbers no longer hold.
                    self._latest.pop(shard, None)

    def rows(self) -> tuple[ShardProgress, ...]:
        """A row of each shard that answered, in the order in which they were started."""
        latest = [(shard, self._latest[shard]) for shard in list(self._fleet.shards) if shard in self._latest]
        return tuple(
            ShardProgress(
                shard=activity.shard,
                running=activity.running,
                waiting=activity.waiting,
                kv_cache_share=activity.kv_cache_share,
                preemptions=activity.preemptions,
                finished=activity.finished,
                tokens_per_s=self._rates[shard].per_second,
            )
            for shard, activity in latest
        )

    @property
    def tokens_under_way(self) -> int:
        """Tokens of samples that have not ended."""
        return sum(activity.tokens_under_way for activity in self._latest.values())

    def _take(self, shard: ActorHandle, activity: ShardActivity) -> None:
        before = self._latest.get(shard)
        tokens = growth(activity.tokens, before.tokens if before else 0)
        self.tokens += tokens
        self.preemptions += growth(activity.preemptions, before.preemptions if before else 0)
        self.finished += growth(activity.finished, before.finished if before else 0)
        self.truncated += growth(activity.truncated, before.truncated if before else 0)
        self._rates.setdefault(shard, TokenRate()).add(tokens, at=time.monotonic())
        self._latest[shard] = activity


def growth(now: int, before: int) -> int:
    """By how much a counter grew that may have begun again at 0."""
    return now - before if now >= before else now


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
        self._is_over = threading.Event()
        # One look at a time: the thread's, or the last one when following ends.
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> "LiveProgress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

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
            self._is_over.set()
            self._thread.join()

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
            while not self._is_over.wait(LIVE_INTERVAL_S):
                live.update(progress_panel(self.look()), refresh=True)
            if self._followed is not None:
                live.update(progress_panel(self.look(phase="ended")), refresh=True)

    def _print_lines(self) -> None:
        # From the first second: a model takes minutes to load, and a log that says nothing looks like one that stands still.
        due, phase = 1.0, "loading"
        while not self._is_over.wait(LIVE_INTERVAL_S if self._sink is None else 2 * LIVE_INTERVAL_S):
            passed = time.monotonic() - self._started
            progress = self.look()
            if passed >= due or (progress.phase != phase and progress.tokens):
                self._print(progress)
                due, phase = passed + log_interval(passed), progress.phase
        if self._followed is not None:
            self._print(self.look(phase="ended"))

    def _print(self, progress: RunProgress) -> None:
        self._console.print(progress_line(progress), soft_wrap=True, highlight=False)


def log_interval(passed: float) -> float:
    """Seconds until the next line of a log, `passed` seconds after the first."""
    return min(max(LOG_INTERVAL_S, LOG_SHARE * passed), LONGEST_LOG_INTERVAL_S)


def run_progress(
    position: RunPosition,
    counts: Counts,
    router_counts: RouterCounts,
    activities: ShardActivities | None,
    *,
    seconds: float,
    phase: Phase,
    warnings: tuple[str, ...] = (),
) -> RunProgress:
    """A session `seconds` after its first unit, joined with what earlier sessions left."""
    rows = activities.rows() if activities else ()
    # Samples that ended and wait for their siblings or their verdict are known to the shards alone.
    unscored = max(0, activities.finished - counts.samples) if activities else 0
    unscored_truncated = max(0, activities.truncated - counts.truncated) if activities else 0
    samples = min(position.finished + counts.new_samples + unscored, position.samples)
    tokens = max(counts.tokens, activities.tokens) if activities else counts.tokens
    average = tokens / seconds if seconds else 0.0
    running, remaining = sum(row.running for row in rows), position.samples - samples
    now = sum(row.tokens_per_s for row in rows)
    return RunProgress(
        phase=phase,
        at=time.time(),
        seconds=seconds,
        problems=max(0, position.problems - counts.problems_missing),
        problems_planned=position.problems,
        samples=samples,
        samples_planned=position.samples,
        running=running,
        waiting=sum(row.waiting for row in rows),
        solved=position.solved + counts.newly_solved,
        errors=counts.errors,
        truncated=position.truncated + counts.truncated + unscored_truncated,
        timeouts=position.timeouts + counts.timeouts,
        preemptions=activities.preemptions if activities else 0,
        kv_cache_share=max((row.kv_cache_share for row in rows), default=0.0),
        tokens=tokens,
        tokens_per_s=now,
        average_tokens_per_s=average,
        eta=estimate_end(
            position,
            counts,
            remaining=remaining,
            running=running,
            under_way=activities.tokens_under_way if activities else 0,
            # The last samples run alone, at another speed than full batches.
            tokens_per_s=now if now and remaining <= running else average,
        ),
        live_shards=router_counts.live_shards,
        wanted_shards=router_counts.shards,
        shard_restarts=router_counts.shard_restarts,
        units_run_again=router_counts.units_run_again,
        shards=rows,
        warnings=warnings,
    )


def estimate_end(
    position: RunPosition, counts: Counts, *, remaining: int, running: int, under_way: int, tokens_per_s: float
) -> Eta | None:
    """When the `remaining` samples will be there; None before the first sample has ended.

    They will take remaining x mean tokens, less those that are `under_way`; samples that run longer than the mean already are taken to need
    one more standard deviation each. The sum of R lengths with standard deviation s, whose mean is known from n lengths, has the standard
    deviation s sqrt(R + R^2 / n); two of them are the interval.
    """
    known = position.finished + counts.samples
    tokens = position.tokens + counts.tokens
    if not tokens_per_s or known == 0:
        return None
    # Answers that run longer than those that ended move the mean up already now.
    mean = max(tokens / known, (tokens + under_way) / (known + running))
    if position.max_tokens is not None:
        mean = min(mean, position.max_tokens)
    variance = max(0.0, (position.squared_tokens + counts.squared_tokens) / known - (tokens / known) ** 2)
    longest_rest = variance**0.5 if position.max_tokens is None else position.max_tokens - under_way / max(1, running)
    rest_of_running = max(mean * running - under_way, running * min(variance**0.5, longest_rest))
    rest = max(0, remaining - running) * mean + max(0.0, rest_of_running)
    spread = 2 * (variance * (remaining + remaining**2 / known)) ** 0.5
    return Eta(
        seconds=rest / tokens_per_s,
        low=max(0.0, rest - spread) / tokens_per_s,
        high=(rest + spread) / tokens_per_s,
        is_lower_bound=known < running,
    )


def run_console() -> Console:
    """Where a run talks to its user."""
    return Console(file=sys.stdout)
