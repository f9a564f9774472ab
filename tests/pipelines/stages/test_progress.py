"""Counting finished samples, and the line that shows it."""

import pyarrow as pa

from actors.types import RouterCounts
from pipelines.runs.finished_sample import FinishedSample
from pipelines.stages.progress import Counts, Progress, clock, progress_line


def sample(problem_id: str, *, is_correct: bool = False, is_error: bool = False) -> FinishedSample:
    return FinishedSample(
        problem_id=problem_id,
        sample_index=0,
        num_tokens=10,
        is_correct=is_correct,
        is_error=is_error,
        is_drawn=not is_error,
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
