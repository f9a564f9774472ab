"""Adaptive k: a problem stops once it is solved often enough, or given up, and its siblings in flight are cancelled.

    VerifySamples --verdicts--> StoppingTracker, in launch order --stop--> ShardRouter --> shards: cancel what is in flight
                                    ^                      \\--stop--> Progress
    GenerateSamples: may this unit be launched? (StoppingGate)

Promise: a problem stops at the first place in launch order at which the rule holds, on verdicts known without a gap up to there, whatever
order samples finish in. A sample behind that place is surplus: drawn or not, estimators never see it. So where a problem stops follows
from the stored samples and the stored rule alone, for a run that goes on as for one that is read.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ray.actor import ActorHandle

from pipelines.runs.finished_sample import FinishedSample
from pipelines.statistics.stopping_rule import StoppingRule


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """Where a problem stopped."""

    samples: int
    """n: the samples 0 ... n-1 count, in launch order."""
    correct: int
    """c of them."""


@dataclass(slots=True)
class Prefix:
    """What is known of a problem without a gap."""

    length: int = 0
    correct: int = 0
    stop: Stop | None = None


class StoppingTracker:
    """Verdicts in, in any order; stops out, decided in launch order."""

    def __init__(self, rule: StoppingRule) -> None:
        self._rule = rule
        self._ahead: dict[str, dict[int, bool]] = defaultdict(dict)
        self._prefixes: dict[str, Prefix] = defaultdict(Prefix)

    def record(self, problem_id: str, sample_index: int, is_correct: bool) -> bool:
        """Take a verdict; True if the problem stops with it. A sample heard of again changes nothing."""
        prefix, ahead = self._prefixes[problem_id], self._ahead[problem_id]
        if prefix.stop is not None or sample_index < prefix.length:
            return False
        ahead.setdefault(sample_index, is_correct)
        while prefix.length in ahead:
            prefix.correct += ahead.pop(prefix.length)
            prefix.length += 1
            if self._rule.allows(prefix.length, prefix.correct):
                prefix.stop = Stop(samples=prefix.length, correct=prefix.correct)
                del self._ahead[problem_id]
                return True
        return False

    def stops(self) -> dict[str, Stop]:
        """Where each problem stopped, of those that did."""
        return {problem_id: prefix.stop for problem_id, prefix in self._prefixes.items() if prefix.stop is not None}

    def has_stopped(self, problem_id: str) -> bool:
        """True if nothing more of this problem is wanted."""
        return problem_id in self._prefixes and self._prefixes[problem_id].stop is not None


class StoppingActor:
    """A StoppingTracker that acts: cancels a stopped problem on every shard. One small Ray actor per session of an adaptive run."""

    def __init__(
        self,
        rule: StoppingRule,
        known: Sequence[FinishedSample],
        router: ActorHandle,
        progress: ActorHandle,
    ) -> None:
        """`known`: verdicts that earlier sessions left; `router`: who tells every shard."""
        self._tracker = StoppingTracker(rule)
        self._router = router
        self._progress = progress
        for sample in known:
            self._tracker.record(sample.problem_id, sample.sample_index, sample.is_correct)

    def add(self, samples: Sequence[FinishedSample]) -> None:
        """Hear of samples that have their verdict. One that could not be drawn leaves a gap, since it will be tried again."""
        for sample in samples:
            if sample.is_generated and self._tracker.record(sample.problem_id, sample.sample_index, sample.is_correct):
                self._progress.stop.remote(sample.problem_id)
                self._router.cancel.remote(sample.problem_id)

    def has_stopped(self, problem_id: str) -> bool:
        """See StoppingTracker."""
        return self._tracker.has_stopped(problem_id)


class Gate(Protocol):
    """Decides whether a unit is launched."""

    async def is_open(self, problem_id: str) -> bool:
        """True if the next unit of this problem shall be drawn."""
        ...


class OpenGate:
    """Of a run that draws all its samples."""

    async def is_open(self, problem_id: str) -> bool:
        return True


class StoppingGate:
    """Of an adaptive run: asks its tracker."""

    def __init__(self, tracker: ActorHandle) -> None:
        self._tracker = tracker

    async def is_open(self, problem_id: str) -> bool:
        return not await self._tracker.has_stopped.remote(problem_id)


def stops_of(samples: Iterable[FinishedSample], rule: StoppingRule) -> dict[str, Stop]:
    """Where the problems of stored samples stopped. A sample that could not be drawn counts as not correct, as it does in every run."""
    tracker = StoppingTracker(rule)
    for sample in samples:
        tracker.record(sample.problem_id, sample.sample_index, sample.is_correct)
    return tracker.stops()
