"""The shards' own counters as metrics: what their Distillers learned from, dropped and lost.

Shards are asked without waiting, between two steps of their engines, and again once they have answered. A counter of a shard begins at 0
when Ray starts the shard again; the metric goes on.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.util.metrics import Gauge

from actors.types import ShardStats
from pipelines.live.shard_activities import Shards, growth
from pipelines.metrics.schema import SHARD_COUNTERS


class ShardCounterMetrics:
    """Sets gauges to what the shards of a session have counted, at every poll."""

    def __init__(self, fleet: Shards, *, run: str, sampler: str) -> None:
        """`fleet`: it may grow meanwhile."""
        self._fleet = fleet
        self._labels = {"run": run, "sampler": sampler}
        self._gauges = [(entry, Gauge(entry.name, entry.help, entry.labels)) for entry in SHARD_COUNTERS]
        self._calls: dict[ActorHandle, ObjectRef] = {}
        self._latest: dict[tuple[str, str], int] = {}
        self._totals: dict[tuple[str, str], int] = {}

    def poll(self) -> None:
        """Take what has been answered since the last poll, and ask those that have no question open."""
        for call in self._answered():
            try:
                stats: ShardStats = ray.get(call)
            except RayError:
                continue  # a shard that restarts or failed: the router says so
            self.add(asdict(stats))
        for shard in list(self._fleet.shards):
            if shard not in self._calls:
                self._calls[shard] = shard.stats.remote()

    def add(self, counts: dict[str, Any]) -> None:
        """Tell Ray the totals of a shard, given its counters as they are now."""
        shard = counts["shard"]
        for entry, gauge in self._gauges:
            value, key = entry.value(counts), (entry.name, shard)
            self._totals[key] = self._totals.get(key, 0) + growth(value, self._latest.get(key, 0))
            self._latest[key] = value
            gauge.set(self._totals[key], tags={**self._labels, "shard": shard})

    def _answered(self) -> Sequence[ObjectRef]:
        calls = list(self._calls.values())
        ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0) if calls else ([], [])
        self._calls = {shard: call for shard, call in self._calls.items() if call not in ready}
        return ready
