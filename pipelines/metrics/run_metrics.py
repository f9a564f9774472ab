"""The driver's metrics: what it polls for its live line, as gauges."""

from ray.util.metrics import Gauge

from pipelines.live.progress_file import RunProgress
from pipelines.metrics.schema import RUN_GAUGES, SHARD_GAUGES


class RunMetrics:
    """Sets a run's gauges to what a poll saw. Needs Ray: another process of its node exports them, some ten seconds later at most."""

    def __init__(self, *, run: str, sampler: str) -> None:
        """`run`: the run's id, as in its samples."""
        self._labels = {"run": run, "sampler": sampler}
        self._run = [(entry, Gauge(entry.name, entry.help, entry.labels)) for entry in RUN_GAUGES]
        self._shards = [(entry, Gauge(entry.name, entry.help, entry.labels)) for entry in SHARD_GAUGES]

    def __call__(self, progress: RunProgress) -> None:
        """Tell Ray the numbers of one poll."""
        for entry, gauge in self._run:
            gauge.set(entry.value(progress), tags=self._labels)
        for shard in progress.shards:
            for of_shard, gauge in self._shards:
                gauge.set(of_shard.value(shard), tags={**self._labels, "shard": shard.shard})
