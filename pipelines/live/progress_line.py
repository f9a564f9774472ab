"""A run's progress for people: one line for a log, a panel with a line per shard for a terminal.

loading model (weights, compiling) 0:41
problems 3/8 | samples 797/1,500 +64 running | solved 2 | 1,840 tokens/s (average 1,790) | waiting 120 | KV cache 43% | preemptions 0 |
truncated 3 (0.4%) | time-outs 0 | errors 0 | ETA 0:41 (0:36-0:47)
"""

import re

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.live.progress_file import MANY_TRUNCATED, RunProgress

LOADING = "loading model (weights, compiling)"
RAISE_MAX_TOKENS = "raise --sampling.max-tokens"
PROGRESS_LINE = re.compile(rf"{re.escape(LOADING)} \d|(problems [\d,]+/[\d,]+ \| )?samples [\d,]+/[\d,]+")
"""How it begins: jobs.submit finds it in a job's log."""


def progress_line(progress: RunProgress) -> str:
    """All of it in one line."""
    if progress.phase == "loading":
        return f"{LOADING} {clock(progress.seconds)}"
    return " | ".join(progress_parts(progress))


def progress_parts(progress: RunProgress) -> list[str]:
    """The line's parts; those of engines only where engines run."""
    parts = [f"problems {progress.problems:,}/{progress.problems_planned:,}"] if progress.problems_planned else []
    running = f" +{progress.running:,} running" if progress.running else ""
    parts += [f"samples {progress.samples:,}/{progress.samples_planned:,}{running}", f"solved {progress.solved:,}"]
    if progress.wanted_shards:
        parts += [
            f"{progress.tokens_per_s:,.0f} tokens/s (average {progress.average_tokens_per_s:,.0f})",
            f"waiting {progress.waiting:,}",
            f"KV cache {progress.kv_cache_share:.0%}",
            f"preemptions {progress.preemptions:,}",
        ]
    parts += [
        truncated_part(progress),
        f"time-outs {progress.timeouts:,}",
        f"errors {progress.errors:,}",
        eta_part(progress),
    ]
    if progress.live_shards < progress.wanted_shards:
        parts.append(f"only {progress.live_shards} of {progress.wanted_shards} shards live")
    return parts


def truncated_part(progress: RunProgress) -> str:
    """Samples cut off, and what to do if they are many."""
    if not progress.truncated:
        return "truncated 0"
    share = f"{progress.truncated_share:.1%}"
    suggestion = f": {RAISE_MAX_TOKENS}" if progress.truncated_share > MANY_TRUNCATED else ""
    return f"truncated {progress.truncated:,} ({share}{suggestion})"


def eta_part(progress: RunProgress) -> str:
    """ "ETA 0:41 (0:36-0:47)"; "ETA > 0:41" while short answers come first; "ETA -" while nothing is known."""
    if progress.phase == "ended":
        return f"ended {'complete' if progress.samples >= progress.samples_planned else 'before the end'}"
    eta = progress.eta
    if eta is None:
        return "ETA -"
    if eta.is_lower_bound:
        return f"ETA > {clock(eta.seconds)}"
    return f"ETA {clock(eta.seconds)} ({clock(eta.low)}-{clock(eta.high)})"


def progress_panel(progress: RunProgress) -> RenderableType:
    """The line broken at its bars, and a line of each shard."""
    if progress.phase == "loading":
        return Text(progress_line(progress))
    text = Text(" | ".join(progress_parts(progress)))
    if not progress.shards:
        return text
    return Panel(Group(text, shard_table(progress)), title="progress", title_align="left")


def shard_table(progress: RunProgress) -> Table:
    """A line of each shard."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("shard")
    for heading in ("finished", "running", "waiting", "tokens/s", "KV cache", "preemptions"):
        table.add_column(heading, justify="right")
    for shard in progress.shards:
        table.add_row(
            shard.shard,
            f"{shard.finished:,}",
            f"{shard.running:,}",
            f"{shard.waiting:,}",
            f"{shard.tokens_per_s:,.0f}",
            f"{shard.kv_cache_share:.0%}",
            f"{shard.preemptions:,}",
        )
    return table


def clock(seconds: float) -> str:
    """3725 -> "1:02:05", 65 -> "1:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def is_progress_line(text: str) -> bool:
    """True for what `progress_line` gives."""
    return PROGRESS_LINE.match(text) is not None
