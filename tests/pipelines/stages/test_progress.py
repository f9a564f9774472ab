"""Counting finished samples, and the line that shows it."""

import io

import pyarrow as pa
from rich.console import Console

from actors.types import ActorWarning, RouterCounts
from pipelines.runs.finished_sample import FinishedSample
from pipelines.stages.progress import Counts, Progress, WarningLines, clock, progress_line


def sample(problem_id: str, *, is_correct: bool = False, is_error: bool = False) -> FinishedSample:
    return FinishedSample(
        problem_id=problem_id,
        sample_index=0,
        num_tokens=10,
        is_correct=is_correct,
        is_error=is_error,
        is_generated=not is_error,
    )


def test_a_problem_is_done_when_all_its_samples_are() -> None:
    progress = Progress()
    progress.expect(pa.table({"problem_id": ["a", "b", "a"], "samples": [1, 1, 1]}))
    progress.add([sample("a", is_correct=True), sample("b", is_error=True)])
    assert progress.counts() == Counts(problems_expected=2, problems=1, samples=2, solved=1, tokens=20, errors=1)
    progress.add([sample("a", is_correct=True)])
    assert progress.counts() == Counts(problems_expected=2, problems=2, samples=3, solved=1, tokens=30, errors=1)


def test_a_problem_that_stopped_is_done_whatever_still_comes() -> None:
    progress = Progress()
    progress.expect(pa.table({"problem_id": ["a"], "samples": [8]}))
    progress.add([sample("a", is_correct=True)])
    progress.stop("a")
    progress.add([sample("a")])
    assert progress.counts() == Counts(problems_expected=1, problems=1, samples=2, solved=1, tokens=20, errors=0)


def test_the_line_says_how_far_how_fast_and_how_long() -> None:
    counts = Counts(problems_expected=32, problems=12, samples=192, solved=9, tokens=55_200, errors=0)
    assert progress_line(counts, RouterCounts(shards=2, live_shards=2), seconds=30.0) == (
        "problems 12/32 | samples 192 | solved 9 | 1,840 tokens/s | errors 0 | ETA 0:50"
    )
    assert progress_line(Counts(), RouterCounts(), seconds=1.0).endswith("ETA -")
    held_up = progress_line(Counts(), RouterCounts(shards=2, live_shards=0), seconds=1.0)
    assert held_up.endswith("ETA - | only 0 of 2 shards live"), "a run that stands still must say why"


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
