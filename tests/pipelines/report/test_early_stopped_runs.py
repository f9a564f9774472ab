"""Adaptive runs beside fixed ones: each by the estimator that fits it, against values worked out by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from actors.config import SamplingConfig
from jobs.report import main
from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.report.early_stopped_runs import compare_adaptive, print_adaptive
from pipelines.runs.folder import RunFolder
from tests.pipelines.stored_rows import failed, make_run, row, wrong

FIXED = RunConfig(samples=4, sampler="vanilla")
ADAPTIVE = replace(FIXED, stop=StoppingConfig(successes=2, give_up_after=3))


def samples(problem: int, verdicts: str) -> list[dict[str, Any]]:
    """ "+-": correct, wrong."""
    kinds = {"+": row, "-": wrong}
    return [kinds[verdict](problem, index, intervened_tokens=0, loss=[]) for index, verdict in enumerate(verdicts)]


@pytest.fixture
def adaptive(tmp_path: Path) -> RunFolder:
    """p0 stops at 3 with two correct, p1 is given up after 3 of which a fourth is discarded."""
    return make_run(tmp_path / "adaptive", ADAPTIVE, [samples(0, "+-+"), samples(1, "---+")])


@pytest.fixture
def fixed(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "fixed", FIXED, [samples(0, "+-+-"), samples(1, "----")])


def test_each_run_has_the_estimator_that_fits_it(adaptive: RunFolder, fixed: RunFolder) -> None:
    """Adaptive, k=1: of "+-+" and "-++", the orders that stop at 3, one begins with a correct sample; p1 has none. Fixed: 2 of 4."""
    summaries, [conclusion] = compare_adaptive([fixed, adaptive])
    assert [summary.label for summary in summaries] == ["vanilla", "vanilla, stop at 2"]
    assert [summary.pass_at[0].estimate for summary in summaries] == [1 / 4, 1 / 4]
    stopping = summaries[1].stopping
    assert stopping is not None
    assert (stopping.solved, stopping.given_up, stopping.exhausted) == (1, 1, 0)
    assert (stopping.counted_samples, stopping.discarded_samples) == (6, 1), "the late success counts for nothing"
    assert summaries[1].solved == 1
    assert (stopping.saved_tokens, stopping.saved_share) == (2, 1 / 8), "two tokens each, seven samples of eight"
    assert "No difference between vanilla, stop at 2 and vanilla" in conclusion
    assert "pass@3" in conclusion, "the largest k that both define"


def test_a_problem_that_has_not_stopped_does_not_count(tmp_path: Path) -> None:
    """p0 lacks its first sample, p1 the verdict that would end it."""
    folder = make_run(
        tmp_path / "run", ADAPTIVE, [samples(0, "-++")[1:], samples(1, "--"), samples(2, "---")], num_problems=3
    )
    [summary], _ = compare_adaptive([folder])
    assert summary.problems == 1
    later = make_run(tmp_path / "failed", ADAPTIVE, [[failed(0, 0), *samples(0, "-++")[1:]]])
    assert compare_adaptive([later])[0][0].problems == 1, "what failed counts as not correct"


def test_runs_of_other_problems_are_refused(adaptive: RunFolder, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", FIXED, [samples(0, "----")])
    manifest = replace(other.manifest(), data_fingerprint="e")
    (other.path / "run.json").write_text(manifest.to_json())
    with pytest.raises(InputError, match="have different problems"):
        compare_adaptive([adaptive, other])


def test_the_report_of_an_adaptive_run_says_that_it_has_no_page(
    adaptive: RunFolder, fixed: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(fixed.path), str(adaptive.path)])
    printed = capsys.readouterr().out
    assert "no report.html" in printed and "tokens saved, about" in printed
    assert not (adaptive.path.parent / "report").exists()


def test_columns_of_one_sampler_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    arms = [
        make_run(tmp_path / f"t{temperature}-{seed}", at_temperature(temperature, seed), [samples(0, "+-+")])
        for temperature, seed in ((0.8, 0), (0.8, 1), (1.2, 0))
    ]
    console = Console(record=True, width=200)
    print_adaptive(arms, console)
    shown = console.export_text()
    for heading in ("temperature=0.8, seed 0", "temperature=0.8, seed 1", "temperature=1.2"):
        assert heading in shown


def at_temperature(temperature: float, seed: int) -> RunConfig:
    return replace(ADAPTIVE, sampling=SamplingConfig(temperature=temperature), seed=seed)
