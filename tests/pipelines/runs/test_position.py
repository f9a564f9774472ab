"""Where a run is: what earlier sessions left, over partitions, extension rounds and early stopping."""

from dataclasses import replace
from pathlib import Path

from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.run import RunConfig
from pipelines.live.position import run_position
from pipelines.runs.finished_sample import FinishedSample
from tests.pipelines.stored_rows import failed, make_run, row, wrong

CONFIG = RunConfig(sampler="esamp", samples=3)


def test_answers_count_and_failures_are_made_again(tmp_path: Path) -> None:
    rows = [row(0, 0), wrong(0, 1, finish_reason="length"), wrong(0, 2, status="timeout"), failed(1, 0), wrong(1, 1)]
    folder = make_run(tmp_path, CONFIG, [rows])
    position = run_position(folder, folder.manifest())
    assert (position.problems, position.samples, position.finished) == (2, 6, 4)
    assert (position.solved, position.truncated, position.timeouts) == (1, 1, 1)
    assert (position.tokens, position.squared_tokens) == (8, 16)
    assert position.missing.to_pylist() == [{"problem_id": "p1", "missing": [0, 2], "solved": False}]


def test_samples_that_are_saved_elsewhere_are_finished_too(tmp_path: Path) -> None:
    folder = make_run(tmp_path, CONFIG, [[row(0, 0)]])
    saved = FinishedSample(
        problem_id="p1",
        sample_index=2,
        num_tokens=5,
        is_correct=True,
        is_error=False,
        is_generated=True,
        is_truncated=True,
    )
    position = run_position(folder, folder.manifest(), saved=[saved])
    assert (position.finished, position.solved, position.truncated) == (2, 2, 1)
    assert (position.tokens, position.squared_tokens) == (7, 29)
    assert position.missing.to_pylist()[1] == {"problem_id": "p1", "missing": [0, 1], "solved": True}


def test_a_partition_counts_what_is_generated_here(tmp_path: Path) -> None:
    config = replace(CONFIG, partition="2/2")
    folder = make_run(tmp_path, config, [[row(1, 0)]])
    position = run_position(folder, folder.manifest())
    assert (position.problems, position.samples, position.finished) == (1, 3, 1)
    by_samples = replace(CONFIG, partition="2/3", partition_by="samples", samples_per_work_unit=1)
    other = make_run(tmp_path / "by-samples", by_samples, [[row(0, 1)]])
    position = run_position(other, other.manifest())
    assert (position.problems, position.samples, position.finished) == (2, 2, 1)
    assert position.missing.to_pylist() == [{"problem_id": "p1", "missing": [1], "solved": False}]


def test_what_early_stopping_made_needless_is_not_planned(tmp_path: Path) -> None:
    folder = make_run(tmp_path, replace(CONFIG, stop=StoppingConfig(successes=1)), [[row(0, 0), wrong(1, 0)]])
    position = run_position(folder, folder.manifest())
    assert (position.problems, position.samples, position.finished) == (2, 4, 2)
    assert position.missing["problem_id"].to_pylist() == ["p1"]
