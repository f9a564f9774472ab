"""Metrics of samples: each is counted when it has its verdict."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
from ray.util.metrics import Counter, Histogram

from pipelines.metrics.schema import SAMPLE_COUNTERS, SAMPLE_HISTOGRAMS, SAVED_SAMPLES, Metric, Row

METRIC_COLUMNS = [
    "run_id", "sampler", "shard", "status", "num_tokens", "intervened_tokens", "flipped_tokens", "verdict_ms", "generation_seconds",
    "novelty_mean", "loss", "lag_mean",
]  # fmt: skip
"""Columns of a sample with its verdict that metrics are made of."""


class SampleMetrics:
    """Counts samples. One in every actor that hands samples to verifiers: Prometheus adds them up."""

    def __init__(self) -> None:
        self._counters = [(entry, Counter(entry.name, entry.help, entry.labels)) for entry in SAMPLE_COUNTERS]
        self._histograms = [
            (entry, Histogram(entry.name, entry.help, list(entry.boundaries), entry.labels))
            for entry in SAMPLE_HISTOGRAMS
        ]
        self._saved = Counter(SAVED_SAMPLES.name, SAVED_SAMPLES.help, SAVED_SAMPLES.labels)

    def add(self, rows: Sequence[Row]) -> None:
        """Count rows that have their verdict."""
        for row in rows:
            for counter, counted in self._counters:
                # Ray refuses to add 0 to a counter.
                if (amount := counter.value(row)) > 0:
                    counted.inc(amount, tags=labels_of(counter, row))
            for histogram, observed in self._histograms:
                if (value := histogram.value(row)) is not None:
                    observed.observe(value, tags=labels_of(histogram, row))

    def add_saved(self, tables: Iterable[pa.Table]) -> None:
        """Count samples that were saved: those of them that have their verdict, since each is saved without it before."""
        for table in tables:
            for row in table.select(METRIC_COLUMNS).to_pylist():
                if row["status"] is not None:
                    self._saved.inc(SAVED_SAMPLES.value(row), tags=labels_of(SAVED_SAMPLES, row))


def labels_of(metric: Metric, row: Row) -> dict[str, str]:
    """The values of a metric's labels for a row; the shard of a sample that was never generated is empty."""
    values = {"run": row["run_id"], "sampler": row["sampler"], "shard": row["shard"] or "", "status": row["status"]}
    return {label: values[label] for label in metric.labels}
