"""Runs become conditions: replicates together, samplers apart, problems in line; what cannot be compared is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors.config import SamplingConfig
from esamp.config import ESampConfig
from pipelines.errors import InputError
from pipelines.report.measures.group_sizes import group_size_sweeps
from pipelines.report.measures.replicates import launch_order, replicate_spreads
from pipelines.report.run_samples import mean_of_lists, read_run, token_curve
from pipelines.report.run_set import read_run_set
from tests.pipelines.report.report_runs import PROBLEMS, config, sample, write_run
from tests.pipelines.stored_rows import failed, make_run, row, wrong


def test_arrays_are_aligned_with_the_stored_rows(tmp_path: Path) -> None:
    """Parts and rows come in any order; unfinished problems are left out and counted."""
    rows = [
        wrong(1, 1, num_tokens=5),
        row(0, 1, num_tokens=7),
        failed(1, 0) | {"policy_logprobs": None},
        row(0, 0),
        row(2, 0),
    ]
    run = read_run(make_run(tmp_path, replace(config("esamp"), samples=2), [rows[:2], rows[2:]], num_problems=4))
    assert sorted(run.problem_ids) == ["p0", "p1"] and run.unfinished == 2
    p0, p1 = run.problem_ids.index("p0"), run.problem_ids.index("p1")
    assert run.correct_PN[p0].tolist() == [True, True] and run.correct_PN[p1].tolist() == [False, False]
    assert run.num_tokens_PN[p0].tolist() == [2, 7] and run.num_tokens_PN[p1].tolist() == [0, 5]
    assert run.status_PN[p1].tolist() == ["error", "wrong"]
    assert run.logprob_PN[p0, 0] == pytest.approx(-1.75) and run.logprob_PN[p1, 0] == -np.inf
    assert run.column("text", run.rows_PN[p0]).tolist() == ["0", "0"]
    swapped = run.only(["p1", "p0"])
    assert swapped.correct_PN.tolist() == [[False, False], [True, True]]


def test_seeds_are_replicates_and_settings_are_arms(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "e0", config("esamp"), solved_share=0.4),
        write_run(tmp_path / "v0", config("vanilla"), solved_share=0.3),
        write_run(tmp_path / "v1", config("vanilla", seed=1), solved_share=0.3),
        write_run(tmp_path / "v2", config("vanilla", seed=2), solved_share=0.3),
        write_run(tmp_path / "b", config("esamp", esamp=ESampConfig(trainer="actor", beta=0.5)), solved_share=0.4),
        write_run(tmp_path / "t", config("vanilla", sampling=SamplingConfig(temperature=0.8)), solved_share=0.4),
    ]
    run_set = read_run_set(runs)
    assert {condition.name: len(condition.runs) for condition in run_set.conditions} == {
        "vanilla, temperature=1.0": 3,
        "vanilla, temperature=0.8": 1,
        "esamp (beta 0.25)": 1,
        "esamp (beta 0.5)": 1,
    }
    assert run_set.baseline.name == "vanilla, temperature=1.0"
    assert run_set.baseline.correct_RPN.shape == (3, PROBLEMS, 4)
    pass_at_1 = run_set.baseline.correct_RPN.mean(axis=(0, 2))
    assert run_set.baseline.pass_at_P(1) == pytest.approx(pass_at_1)
    between = replicate_spreads(run_set)
    assert [row.k for row in between] == [1, 2, 4] and all(row.between.standard_deviation > 0 for row in between)
    assert len(launch_order(run_set)) == 4


def test_only_problems_that_every_run_has_finished_count(tmp_path: Path) -> None:
    full = [row(p, i) for p in range(3) for i in range(2)]
    two = replace(config("vanilla"), samples=2)
    runs = [
        make_run(tmp_path / "a", two, [full], num_problems=3),
        make_run(tmp_path / "b", replace(two, seed=1), [list(reversed(full[:4]))], num_problems=3),
    ]
    run_set = read_run_set(runs)
    assert sorted(problem.problem_id for problem in run_set.problems) == ["p0", "p1"] and run_set.left_out == 1
    first, second = run_set.conditions[0].runs
    assert first.problem_ids == second.problem_ids


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    base = make_run(tmp_path / "a", replace(config("vanilla"), samples=1), [[row(0, 0)]])
    two = replace(config("vanilla"), samples=1, seed=1)
    with pytest.raises(InputError, match="same run"):
        read_run_set([base, base])
    with pytest.raises(InputError, match=r"problem p0 .* is another"):
        read_run_set([base, make_run(tmp_path / "b", two, [[{**row(0, 0), "problem": "say 1"}]])])
    with pytest.raises(InputError, match="share no finished problem"):
        read_run_set([base, make_run(tmp_path / "c", two, [[row(1, 0)]])])
    with pytest.raises(InputError, match="no problem with all 4 samples"):
        read_run_set([make_run(tmp_path / "d", config("vanilla"), [[row(0, 0)]])])
    with pytest.raises(InputError, match="at least one run folder"):
        read_run_set([])


def test_group_sizes_are_swept_where_replicates_allow(tmp_path: Path) -> None:
    runs = [
        write_run(
            tmp_path / f"{samples}-{seed}", replace(config("esamp", seed=seed), samples=samples), solved_share=0.3
        )
        for samples, seed in ((4, 0), (2, 0), (2, 1))
    ]
    run_set = read_run_set(runs)
    [sweep] = group_size_sweeps(run_set)
    assert [(p.group_size, p.num_groups) for p in sweep.points] == [(2, 2), (4, 1)] and sweep.budget == 4
    small = next(condition for condition in run_set.conditions if condition.group_size == 2)
    assert sweep.points[0].solved.estimate == pytest.approx(small.correct_RPN.any(axis=(0, 2)).mean())


def test_token_curves_average_by_place_and_skip_what_is_nan() -> None:
    lists = pa.array([[np.nan, 1.0, 2.0], None, [], [np.nan, 3.0]], pa.list_(pa.float32())).slice(0)
    curve = token_curve(lists)
    assert curve.position.tolist() == [1, 2] and curve.mean.tolist() == [2, 2] and curve.count.tolist() == [2, 1]
    assert mean_of_lists(lists.slice(1), empty=-1.0)[:2].tolist() == [-1, -1]
    binned = token_curve(pa.array([list(map(float, range(10)))], pa.list_(pa.float32())), num_bins=5)
    assert binned.mean.tolist() == [0.5, 2.5, 4.5, 6.5, 8.5] == binned.position.tolist()
    assert len(token_curve(pa.array([[np.nan]], pa.list_(pa.float32()))).count) == 0


def test_a_sample_made_by_hand_is_what_the_tokenizer_gives() -> None:
    made = sample(3, 1, is_correct=True, steers=True)
    assert len(made["token_ids"]) == len(made["novelty"]) == made["num_tokens"]
