"""Every metric of a run, one entry each: exporters, the Grafana dashboard's test and docs/clusters.md read this table.

    esamp_tokens_per_s{run, sampler}            Prometheus: ray_esamp_tokens_per_s, with Ray's own labels (NodeAddress, WorkerId, ...)

Three sources: the driver's poll of its run (RunProgress, also the live line's and progress.json's), the driver's poll of its shards'
counters, and the stage that generates, which sees every sample with its verdict.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.live.progress_file import RunProgress, ShardProgress
from pipelines.runs.counters import counters_of

PREFIX = "ray_"
"""What Ray puts before the names of an application's metrics."""
RUN_LABELS = ("run", "sampler")
SHARD_LABELS = ("run", "sampler", "shard")

Row = dict[str, Any]
"""A row of samples/*.parquet: pipelines.runs.schema.STORED_SCHEMA."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """What one metric is called, means, and is told by."""

    name: str
    help: str
    labels: tuple[str, ...] = RUN_LABELS


@dataclass(frozen=True, kw_only=True, slots=True)
class RunGauge(Metric):
    """A number of the whole run, as of the last poll."""

    value: Callable[[RunProgress], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardGauge(Metric):
    """A number of one shard, as of the last poll."""

    value: Callable[[ShardProgress], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardCounter(Metric):
    """A counter of one shard, in this session. Exported as a gauge: Ray exports no counter that is 0, and the first slot that diverges, or
    row that is lost, must be a change that a query sees."""

    labels: tuple[str, ...] = SHARD_LABELS
    value: Callable[[Mapping[str, Any]], int]
    """From the fields of actors.types.ShardStats by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleCounter(Metric):
    """Grows with every sample that got its verdict; a counter's name ends with _total."""

    value: Callable[[Row], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleHistogram(Metric):
    """A distribution over samples."""

    value: Callable[[Row], float | None]
    """None for a sample that has no such number."""
    boundaries: tuple[float, ...]


RUN_GAUGES = (
    RunGauge(name="esamp_problems_planned", help="Problems of the run.", value=lambda run: run.problems_planned),
    RunGauge(
        name="esamp_problems_finished",
        help="Problems all of whose samples have a verdict, or that stopped early.",
        value=lambda run: run.problems,
    ),
    RunGauge(name="esamp_problems_solved", help="Problems with a correct sample.", value=lambda run: run.solved),
    RunGauge(name="esamp_samples_planned", help="Samples of the run.", value=lambda run: run.samples_planned),
    RunGauge(
        name="esamp_samples_finished",
        help="Samples that have ended, of earlier sessions too.",
        value=lambda run: run.samples,
    ),
    RunGauge(
        name="esamp_samples_truncated", help="Samples that were cut off at max_tokens.", value=lambda run: run.truncated
    ),
    RunGauge(name="esamp_requests_running", help="Samples in the engines' batches.", value=lambda run: run.running),
    RunGauge(
        name="esamp_requests_waiting",
        help="Samples that engines have taken and that are not in their batches.",
        value=lambda run: run.waiting,
    ),
    RunGauge(
        name="esamp_tokens",
        help="Tokens generated in this session, of samples under way too.",
        value=lambda run: run.tokens,
    ),
    RunGauge(
        name="esamp_tokens_per_s",
        help="Tokens per second of all shards, over the last interval.",
        value=lambda run: run.tokens_per_s,
    ),
    RunGauge(
        name="esamp_preemptions",
        help="Samples taken out of a batch for want of KV cache, in this session.",
        value=lambda run: run.preemptions,
    ),
    RunGauge(
        name="esamp_kv_cache_share",
        help="Share of the KV cache in use, of the fullest shard.",
        value=lambda run: run.kv_cache_share,
    ),
    RunGauge(
        name="esamp_shards_live", help="Shards that may be given work units now.", value=lambda run: run.live_shards
    ),
    RunGauge(name="esamp_shards_wanted", help="Shards that were started.", value=lambda run: run.wanted_shards),
    RunGauge(
        name="esamp_shard_restarts",
        help="Times a shard came back as another process, in this session.",
        value=lambda run: run.shard_restarts,
    ),
    RunGauge(
        name="esamp_work_units_run_again",
        help="Work units that a lost shard or stage had under way, in this session.",
        value=lambda run: run.units_run_again,
    ),
    RunGauge(
        name="esamp_actor_warnings",
        help="Kinds of warnings that actors gave: diverged slots, dropped rows, lost shards, ...",
        value=lambda run: len(run.warnings),
    ),
    RunGauge(
        name="esamp_progress_timestamp_seconds",
        help="Unix time of the driver's last poll; an old one is a driver that has ended or hangs.",
        value=lambda run: run.at,
    ),
)
"""Told by the driver."""

SHARD_GAUGES = (
    ShardGauge(
        name="esamp_shard_requests_running",
        help="Samples in the shard's batch.",
        labels=SHARD_LABELS,
        value=lambda shard: shard.running,
    ),
    ShardGauge(
        name="esamp_shard_requests_waiting",
        help="Samples that the shard has taken and that are not in its batch.",
        labels=SHARD_LABELS,
        value=lambda shard: shard.waiting,
    ),
    ShardGauge(
        name="esamp_shard_kv_cache_share",
        help="Share of the shard's KV cache in use.",
        labels=SHARD_LABELS,
        value=lambda shard: shard.kv_cache_share,
    ),
    ShardGauge(
        name="esamp_shard_tokens_per_s",
        help="Tokens per second of the shard, over the last interval.",
        labels=SHARD_LABELS,
        value=lambda shard: shard.tokens_per_s,
    ),
)
"""Told by the driver, of every shard that answers."""

SHARD_COUNTERS = (
    ShardCounter(
        name="esamp_shard_trained_rows",
        help="Hidden-state rows that the shard's Distillers learned from, or that were sent to a trainer.",
        value=lambda counts: counts["trained_rows"],
    ),
    ShardCounter(
        name="esamp_shard_dropped_rows",
        help="Hidden-state rows that were not sent, since the trainer was behind.",
        value=lambda counts: counts["dropped_rows"],
    ),
    ShardCounter(
        name="esamp_shard_lost_rows",
        help="Hidden-state rows that were lost with a trainer.",
        value=lambda counts: counts["lost_rows"],
    ),
    # The summary's own counters, but for those that trainers count too.
    *(
        ShardCounter(name=f"esamp_shard_{name}", help=counter.help, value=counter.of_shard)
        for name, counter in counters_of()
        if counter.shards and not counter.trainer
    ),
)
"""Told by the driver, of every shard that answers. What a lost shard counted stays, and its successor adds to it."""

SAMPLE_COUNTERS = (
    SampleCounter(
        name="esamp_samples_total",
        help="Samples that got a verdict, by status.",
        labels=(*SHARD_LABELS, "status"),
        value=lambda row: 1,
    ),
    SampleCounter(
        name="esamp_sample_tokens_total",
        help="Tokens of samples that got a verdict.",
        labels=SHARD_LABELS,
        value=lambda row: row["num_tokens"] or 0,
    ),
    SampleCounter(
        name="esamp_intervened_tokens_total",
        help="Tokens that the Distiller took part in sampling.",
        labels=SHARD_LABELS,
        value=lambda row: row["intervened_tokens"] or 0,
    ),
    SampleCounter(
        name="esamp_changed_tokens_total",
        help="Tokens that the same random numbers would have drawn otherwise without the policy.",
        labels=SHARD_LABELS,
        value=lambda row: row["flipped_tokens"] or 0,
    ),
)
"""Told by the stage that generates, of every sample that got its verdict."""

SAVED_SAMPLES = SampleCounter(
    name="esamp_saved_samples_total",
    help="Samples that are on disk with their verdict, before their work unit has ended.",
    labels=SHARD_LABELS,
    value=lambda row: 1,
)
"""Told by the stage that generates, of every sample that it has saved."""

SAMPLE_HISTOGRAMS = (
    SampleHistogram(
        name="esamp_verdict_seconds",
        help="Time of one verdict.",
        value=lambda row: row["verdict_ms"] / 1000,
        boundaries=(0.001, 0.01, 0.1, 0.3, 1, 3, 10, 30, 60),
    ),
    SampleHistogram(
        name="esamp_sample_seconds",
        help="From the arrival of a sample's work unit at its shard to the sample's end.",
        labels=SHARD_LABELS,
        value=lambda row: row["generation_seconds"],
        boundaries=(1, 3, 10, 30, 100, 300, 1000, 3000),
    ),
    SampleHistogram(
        name="esamp_novelty",
        help="Mean novelty of a sample's tokens (arXiv:2604.24927, section 4.2).",
        labels=SHARD_LABELS,
        value=lambda row: row["novelty_mean"],
        boundaries=(0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 4),
    ),
    SampleHistogram(
        name="esamp_distiller_loss",
        help="Distiller's loss when a sample ended: squared error per hidden channel.",
        labels=SHARD_LABELS,
        value=lambda row: last_finite(row["loss"]),
        boundaries=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
    ),
    SampleHistogram(
        name="esamp_lag_steps",
        help="Mean decode steps that a sample's Distiller weights were behind.",
        labels=SHARD_LABELS,
        value=lambda row: row["lag_mean"],
        boundaries=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    ),
)
"""Told by the stage that generates, of every sample that got its verdict."""


def last_finite(values: list[float] | None) -> float | None:
    """The last number that is one; None if there is none. `loss` is NaN where the Distiller took no part."""
    return next((value for value in reversed(values or ()) if value == value), None)


def all_metrics() -> tuple[Metric, ...]:
    """In the order of this module."""
    return (*RUN_GAUGES, *SHARD_GAUGES, *SHARD_COUNTERS, *SAMPLE_COUNTERS, SAVED_SAMPLES, *SAMPLE_HISTOGRAMS)


def exported_names() -> set[str]:
    """Names as Prometheus has them; a histogram's three series each."""
    histograms = {f"{metric.name}_{series}" for metric in SAMPLE_HISTOGRAMS for series in ("bucket", "count", "sum")}
    plain = {metric.name for metric in all_metrics() if metric not in SAMPLE_HISTOGRAMS}
    return {PREFIX + name for name in plain | histograms}
