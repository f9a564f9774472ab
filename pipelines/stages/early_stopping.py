"""Early stopping while a run generates: a problem that is solved often enough, or given up, is cancelled on every shard.

    GenerateSamples --verdicts--> StoppingActor --stop--> ShardRouter --> shards: cancel what is in flight
                                    ^        \\--stop--> Progress
    GenerateSamples: may this work unit be launched? (StoppingGate)

The decision itself is pipelines/runs/early_stopping.py.
"""

from collections.abc import Sequence
from typing import Protocol

from ray.actor import ActorHandle

from pipelines.runs.early_stopping import StoppingTracker
from pipelines.runs.finished_sample import FinishedSample
from pipelines.statistics.stopping_rule import StoppingRule


class StoppingActor:
    """A StoppingTracker that acts: cancels a stopped problem on every shard. One small Ray actor per session of an adaptive run."""

    def __init__(
        self,
        rule: StoppingRule,
        known: Sequence[FinishedSample],
        router: ActorHandle,
        progress: ActorHandle,
    ) -> None:
        """`known`: verdicts that earlier sessions left; `router`: it tells every shard."""
        self._tracker = StoppingTracker(rule)
        self._router = router
        self._progress = progress
        for sample in known:
            self._tracker.record(sample.problem_id, sample.sample_index, sample.is_correct)

    def add(self, samples: Sequence[FinishedSample]) -> None:
        """Take samples that have their verdict. One that could not be generated leaves a gap, since it will be tried again."""
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
    """Of an adaptive run: asks its tracking actor."""

    def __init__(self, tracker: ActorHandle) -> None:
        self._tracker = tracker

    async def is_open(self, problem_id: str) -> bool:
        return not await self._tracker.has_stopped.remote(problem_id)
