"""A run at one moment: what earlier sessions left, what this one has counted and what its shards do, joined; and when it will end."""

import time

from actors.types import RouterCounts
from pipelines.live.counts import Counts
from pipelines.live.position import RunPosition
from pipelines.live.progress_file import Eta, Phase, RunProgress
from pipelines.live.shard_activities import ShardActivities


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
