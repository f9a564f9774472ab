"""Counting finished samples, joining them with what the shards do and what earlier sessions left, and the line that shows it."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from actors.types import ActorWarning, RouterCounts
from pipelines.live.counts import Counts, Progress
from pipelines.live.position import MISSING_SCHEMA, RunPosition
from pipelines.live.progress import log_interval
from pipelines.live.progress_file import Eta, RunProgress, ShardProgress
from pipelines.live.progress_line import clock, progress_line, progress_panel
from pipelines.live.run_progress import estimate_end, run_progress
from pipelines.live.shard_activities import TokenRate, growth
from pipelines.live.warning_lines import WarningLines
from pipelines.runs.finished_sample import FinishedSample


def sample(problem_id: str, index: int = 0, **settings: Any) -> FinishedSample:
    settings = {"is_correct": False, "is_error": False, "is_generated": True, **settings}
    return FinishedSample(problem_id=problem_id, sample_index=index, num_tokens=10, **settings)


def missing(**indices: list[int]) -> Any:
    rows = [{"problem_id": name, "missing": lacks, "solved": name == "s"} for name, lacks in indices.items()]
    return MISSING_SCHEMA.empty_table().from_pylist(rows, schema=MISSING_SCHEMA)


def test_a_problem_is_done_when_all_its_samples_are_and_a_repeated_sample_counts_once() -> None:
    progress = Progress()
    progress.expect(missing(a=[0, 2], b=[1]))
    progress.add([sample("a", 0, is_correct=True), sample("b", 1, is_error=True, is_generated=False)])
    counts = progress.counts()
    assert (counts.problems_missing, counts.new_samples, counts.newly_solved, counts.errors) == (1, 2, 1, 1)
    progress.add([sample("a", 0), sample("a", 1), sample("a", 2, is_truncated=True, is_timeout=True)])
    counts = progress.counts()
    assert (counts.problems_missing, counts.samples, counts.new_samples) == (0, 5, 3)
    assert (counts.tokens, counts.squared_tokens, counts.truncated, counts.timeouts) == (50, 500, 1, 1)


def test_a_problem_that_an_earlier_session_solved_is_not_solved_again() -> None:
    progress = Progress()
    progress.expect(missing(s=[3], t=[3]))
    progress.add([sample("s", 3, is_correct=True), sample("t", 3, is_correct=True)])
    assert progress.counts().newly_solved == 1


def test_a_problem_that_stopped_is_done_whatever_still_comes() -> None:
    progress = Progress()
    progress.expect(missing(a=list(range(8))))
    progress.add([sample("a", 0)])
    progress.stop("a")
    progress.add([sample("a", 5)])
    counts = progress.counts()
    assert (counts.problems_missing, counts.new_samples, counts.samples) == (0, 1, 2)


POSITION = RunPosition(problems=8, samples=64, finished=24, solved=3, truncated=2, tokens=2400, squared_tokens=250_000)


def test_after_a_resume_the_line_starts_where_the_run_is() -> None:
    progress = run_progress(
        POSITION,
        Counts(problems_missing=5),
        RouterCounts(shards=1, live_shards=1),
        None,
        seconds=1.0,
        phase="generating",
    )
    assert progress_line(progress).startswith("problems 3/8 | samples 24/64 | solved 3 | 0 tokens/s")
    assert progress_line(progress).endswith("ETA -"), "nothing was generated yet, so nothing is known of the speed"


def test_the_line_says_what_engines_do() -> None:
    progress = RunProgress(
        phase="generating",
        at=0.0,
        seconds=60.0,
        problems=3,
        problems_planned=8,
        samples=797,
        samples_planned=1500,
        running=64,
        waiting=120,
        solved=2,
        truncated=3,
        kv_cache_share=0.43,
        tokens_per_s=1840.0,
        average_tokens_per_s=1790.0,
        eta=Eta(seconds=41, low=36, high=47, is_lower_bound=False),
        live_shards=1,
        wanted_shards=2,
        shards=(
            ShardProgress(
                shard="shard-0",
                running=64,
                waiting=120,
                kv_cache_share=0.43,
                preemptions=7,
                finished=797,
                tokens_per_s=1840.0,
            ),
        ),
    )
    assert progress_line(progress) == (
        "problems 3/8 | samples 797/1,500 +64 running | solved 2 | 1,840 tokens/s (average 1,790) | waiting 120 | KV cache 43% | "
        "preemptions 0 | truncated 3 (0.4%) | time-outs 0 | errors 0 | ETA 0:41 (0:36-0:47) | only 1 of 2 shards live"
    )
    assert RunProgress.from_json(progress.to_json()) == progress
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(progress_panel(progress))
    panel = console.export_text()
    assert "shard-0" in panel and "preemptions" in panel
    assert (
        progress_line(RunProgress(phase="loading", at=0.0, seconds=41.0)) == "loading model (weights, compiling) 0:41"
    )


def test_many_truncated_samples_are_said_with_the_way_out() -> None:
    progress = RunProgress(phase="generating", at=0.0, seconds=1.0, samples=100, truncated=6)
    assert "truncated 6 (6.0%: raise --sampling.max-tokens)" in progress_line(progress)
    assert "raise" not in progress_line(replace(progress, truncated=5))


def test_the_estimate_takes_the_observed_length_and_its_spread() -> None:
    position = RunPosition(problems=1, samples=300, finished=100, tokens=10_000, squared_tokens=1_040_000)
    eta = estimate_end(position, Counts(), remaining=200, running=0, under_way=0, tokens_per_s=100.0)
    assert eta is not None and eta.seconds == pytest.approx(200.0)
    # s = 20; sqrt(200 + 200^2 / 100) = 24.5; two of them in tokens, at 100 tokens/s
    assert (eta.low, eta.high) == (pytest.approx(200 - 9.8, abs=0.01), pytest.approx(200 + 9.8, abs=0.01))
    assert not eta.is_lower_bound

    first = estimate_end(position, Counts(), remaining=200, running=128, under_way=50_000, tokens_per_s=100.0)
    assert first is not None and first.is_lower_bound, "more run than have ended, and the short ones end first"
    assert first.seconds == pytest.approx((72 * 60_000 / 228 + 128 * 20) / 100), "long answers under way move the mean"
    capped = estimate_end(
        replace(position, max_tokens=120), Counts(), remaining=200, running=128, under_way=15_000, tokens_per_s=100.0
    )
    assert capped is not None and capped.seconds <= (200 * 120 - 15_000) / 100
    last = estimate_end(position, Counts(), remaining=10, running=10, under_way=1500, tokens_per_s=100.0)
    assert last is not None and last.seconds == pytest.approx(10 * 20 / 100), (
        "samples beyond the mean are not at their end"
    )
    assert estimate_end(RunPosition(), Counts(), remaining=9, running=9, under_way=90, tokens_per_s=9.0) is None


def test_a_counter_of_a_restarted_shard_goes_on() -> None:
    assert [growth(120, 100), growth(7, 100), growth(100, 100)] == [20, 7, 0]


def test_the_speed_now_is_that_of_the_last_seconds_and_not_of_the_last_look() -> None:
    """Looked at every half second, a CPU shard whose steps take a second showed 0 tokens/s every other time."""
    rate = TokenRate()
    rate.add(64, at=0.0)
    assert rate.per_second == 0.0
    for look in range(1, 41):
        rate.add(64 * (look % 2), at=look / 2)
        assert look < 4 or rate.per_second == pytest.approx(64, rel=0.26)
    for look in range(41, 60):
        rate.add(0, at=look / 2)
    assert rate.per_second == 0.0, "what was before the window does not count"


def test_the_interval_of_a_log_grows_with_the_run() -> None:
    assert [log_interval(s) for s in (1, 60, 600, 3600, 10**6)] == [10, 10, 30, 180, 600]


def test_clock() -> None:
    assert [clock(5), clock(65), clock(3725)] == ["0:05", "1:05", "1:02:05"]


def test_a_warning_of_an_actor_is_printed_once_and_again_at_ten_times_the_count() -> None:
    """Actors log on their own nodes, and the driver silences what Ray forwards: a diverged slot was seen by nobody."""
    console = Console(width=200, record=True, file=io.StringIO())
    lines = WarningLines(console)
    for count in (1, 2, 9, 10, 11):
        lines.show([ActorWarning(source="shard-0", kind="trainer_failed", message="trainer 1 is gone", count=count)])
    lines.show([ActorWarning(source="router", kind="shard_lost", message="shard-1 was lost", count=1)])
    assert console.export_text().splitlines() == [
        "warning: shard-0: trainer 1 is gone (trainer failed: 1)",
        "warning: shard-0: trainer 1 is gone (trainer failed: 10)",
        "warning: router: shard-1 was lost (shard lost: 1)",
    ]
    assert lines.latest[0].endswith("(trainer failed: 11)")
