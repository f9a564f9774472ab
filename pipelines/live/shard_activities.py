"""What the shards of a session do now. They are asked without waiting: one that loads its model or does not answer is left out until it
does."""

import time
from collections import deque
from typing import Protocol

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.types import ShardActivity
from pipelines.live.progress_file import ShardProgress

RATE_WINDOW_S = 5.0
"""What "now" means in tokens per second."""
ACTIVITY_TIMEOUT_S = 0.3
"""How long one look waits for the shards' numbers."""


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
