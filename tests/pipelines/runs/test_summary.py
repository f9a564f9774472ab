"""Summary numbers against values worked out by hand."""

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from actors.types import ShardStats, TrainerStats
from esamp.config import ESampConfig
from pipelines.config.run import RunConfig
from pipelines.errors import RunError
from pipelines.runs.counters import counters_of
from pipelines.runs.folder import RunFolder, Session
from pipelines.runs.summary import RunSummary, read_summary, summarise, summary_table, tokens_per_s
from tests.pipelines.stored_rows import failed, make_run, row, wrong

NAN = math.nan
CONFIG = RunConfig(sampler="esamp", samples=2)


def test_pass_at_k_counts_by_problem(tmp_path: Path) -> None:
    """p0: 1 of 2 correct, p1: none. pass@1 = (1/2 + 0)/2, pass@2 = (1 + 0)/2."""
    folder = make_run(tmp_path, CONFIG, [[row(0, 0), wrong(0, 1)], [wrong(1, 0), wrong(1, 1)]])
    summary = summarise(folder)
    assert {point.k: point.estimate for point in summary.pass_at} == {1: 0.25, 2: 0.5}
    assert (summary.problems, summary.solved) == (2, 1)
    assert all(point.low <= point.estimate <= point.high for point in summary.pass_at)
    assert read_summary(RunFolder(tmp_path)) == summary


def test_jointly_drawn_siblings_are_counted_over_windows_of_neighbours(tmp_path: Path) -> None:
    """The first of four samples is correct: of the three windows of two one holds it, of the six subsets three do."""
    rows = [wrong(0, 3), wrong(0, 2), row(0, 0), wrong(0, 1)]
    estimates = {}
    for sampler in ("vanilla", "quasi"):
        folder = make_run(tmp_path / sampler, RunConfig(samples=4, sampler=sampler), [rows], num_problems=1)
        [estimates[sampler]] = summarise(folder, pass_at=(2,)).pass_at
    assert estimates["vanilla"].estimate == pytest.approx(1 / 2)
    assert estimates["quasi"].estimate == pytest.approx(1 / 3)
    assert estimates["quasi"].label == "pass@2"


def test_ks_can_be_chosen(tmp_path: Path) -> None:
    folder = make_run(tmp_path, CONFIG, [[row(0, 0), wrong(0, 1)]])
    assert [point.k for point in summarise(folder, pass_at=(2,)).pass_at] == [2]


def test_loss_is_taken_over_the_first_and_last_tenth(tmp_path: Path) -> None:
    """20 losses 19, 18, ... 0: the first tenth is 19 and 18, the last 1 and 0. The first token has none."""
    falling = [NAN, *np.arange(19.0, -1.0, -1.0)]
    samples = [row(0, 0, loss=falling, num_tokens=21), row(0, 1, loss=[NAN, 4.5, 2.5])]
    summary = summarise(make_run(tmp_path, CONFIG, [samples]))
    assert summary.distiller_loss_start == pytest.approx((18.5 + 4.5) / 2)
    assert summary.distiller_loss_end == pytest.approx((0.5 + 2.5) / 2)


def test_intervened_share_is_of_decode_tokens(tmp_path: Path) -> None:
    """Answers of 5 and 1 tokens: 4 decode tokens, 3 of them intervened on."""
    samples = [row(0, 0, num_tokens=5, intervened_tokens=3), wrong(0, 1, num_tokens=1, intervened_tokens=0)]
    assert summarise(make_run(tmp_path, CONFIG, [samples])).intervened_share == 0.75


def test_a_joint_draw_takes_part_in_first_tokens_too(tmp_path: Path) -> None:
    samples = [row(0, 0, num_tokens=5, intervened_tokens=5), row(0, 1, num_tokens=1, intervened_tokens=1)]
    config = replace(CONFIG, sampler="quasi")
    assert summarise(make_run(tmp_path, config, [samples])).intervened_share == 1.0


def test_what_went_wrong_is_counted(tmp_path: Path) -> None:
    parts = [
        [row(0, 0, finish_reason="length"), wrong(0, 1, status="no_answer")],
        [failed(1, 0), failed(1, 1)],
        [wrong(2, 0, status="timeout"), row(2, 1)],
    ]
    summary = summarise(make_run(tmp_path, CONFIG, parts, num_problems=3))
    assert (summary.errors, summary.truncated, summary.no_answer, summary.timeouts) == (2, 1, 1, 1)
    assert summary.pass_at[0].estimate == pytest.approx(2 / 6), "samples that failed count as not correct"


def test_what_a_verifier_could_not_do_is_in_the_table(tmp_path: Path) -> None:
    statuses = ["timeout", "out_of_memory", "sandbox_error", "parse_error"]
    samples = [wrong(problem, index, status=statuses[2 * problem + index]) for problem in (0, 1) for index in (0, 1)]
    text = printed([summarise(make_run(tmp_path, CONFIG, [samples]))])
    for name in ("timeouts", "out of memory", "sandbox errors", "parse errors"):
        assert re.search(rf"{name} +│ +1 ", text), text


def test_a_run_without_one_correct_sample_warns(tmp_path: Path) -> None:
    """A prompt or a verifier that does not fit looks just like this, and so do math-verify's time limits off the main thread."""
    unsolved = summarise(make_run(tmp_path / "a", CONFIG, [[wrong(0, 0), wrong(0, 1), wrong(1, 0), wrong(1, 1)]]))
    assert "warning: esamp (beta 0.25): not one of 4 samples is correct" in printed([unsolved])
    weak = summarise(make_run(tmp_path / "b", CONFIG, [[row(0, 0), wrong(0, 1), wrong(1, 0), wrong(1, 1)]]))
    assert "warning" not in printed([weak])


def test_the_warning_about_groups_says_which_of_them_share_a_distiller(tmp_path: Path) -> None:
    """Work units of one session share their problem's Distiller; extension rounds never do."""
    samples = [[row(problem, index) for problem in (0, 1) for index in range(2)]]
    in_units = summarise(make_run(tmp_path / "units", replace(CONFIG, samples_per_work_unit=1), samples))
    [warning] = in_units.warnings
    assert "2 groups of 1" in warning and "shared the problem's Distiller" in warning, warning
    assert "did not learn from each other" not in warning
    folder = make_run(tmp_path / "extended", CONFIG, samples)
    folder.write_manifest(replace(folder.manifest(), config=replace(CONFIG, samples=2), extended_from=(1,)))
    [warning] = summarise(folder).warnings
    assert "extension rounds of 1, 1" in warning and "did not learn from each other" in warning, warning


def test_without_a_verifier_pass_at_k_is_undefined_and_never_0(tmp_path: Path) -> None:
    unverified = {"status": "unverified", "score": NAN}
    summary = summarise(make_run(tmp_path, CONFIG, [[row(0, 0, **unverified), row(0, 1, **unverified)]]))
    assert summary.pass_at == []
    assert summary.solved is None
    assert read_summary(RunFolder(tmp_path)) == summary
    text = printed([summary])
    assert "undefined: no verifier" in text
    assert "pass@1" not in text
    assert not re.search(r"pass@k[^\n]*[0-9]", text)
    assert "warning" not in text


def printed(summaries: list[RunSummary]) -> str:
    console = Console(width=400)
    with console.capture() as capture:
        console.print(summary_table(summaries))
    return capture.get()


def test_problems_with_samples_missing_do_not_count(tmp_path: Path) -> None:
    summary = summarise(make_run(tmp_path, CONFIG, [[row(0, 0), row(0, 1), wrong(1, 0)]]))
    assert summary.problems == 1
    assert summary.pass_at[0].estimate == 1.0


def test_speed_is_tokens_over_the_busiest_shards_time_and_lost_rows_are_counted(tmp_path: Path) -> None:
    folder = make_run(tmp_path, CONFIG, [[row(0, 0), row(0, 1)]])
    for tokens, busy in ((100, [2.0, 1.0]), (50, [0.5, 1.0])):
        shards = [{"generation_seconds": seconds, "dropped_rows": 3, "lost_rows": 2} for seconds in busy]
        trainer = {"refused_rows": 5}
        folder.add_session(
            Session(started="", seconds=9.0, units=1, samples=1, tokens=tokens, shards=shards, trainer=trainer)
        )
    summary = summarise(folder)
    assert summary.tokens_per_s == 150 / 3
    assert summary.rows_not_learned == 2 * (5 + 5 + 5)


def test_the_time_of_a_session_whose_shard_came_back_is_the_whole_session() -> None:
    """Its shard's clock began again, also where nothing was run again."""
    quiet = Session(
        started="", seconds=9.0, units=1, samples=1, tokens=90, shards=[{"generation_seconds": 3.0}], trainer=None
    )
    assert tokens_per_s([quiet]) == 30
    assert tokens_per_s([replace(quiet, shard_restarts=1)]) == 10
    assert tokens_per_s([replace(quiet, units_run_again=1)]) == 10


def test_warnings_of_actors_are_in_the_summary_with_their_counts(tmp_path: Path) -> None:
    """Twice the same warning is one line; a kind that has a counter is said once, by the counter."""
    folder = make_run(tmp_path, CONFIG, [[row(0, 0), row(0, 1)]])
    warned = [
        {"source": "shard-0", "kind": "trainer_failed", "message": "the trainer is gone", "count": 2},
        {"source": "shard-0", "kind": "diverged_slot", "message": "met non-finite numbers", "count": 3},
    ]
    shards = [{"generation_seconds": 1.0, "broken_slots": 3, "vanilla_groups": 0}]
    for _ in range(2):
        folder.add_session(
            Session(started="", seconds=9.0, units=1, samples=1, tokens=9, shards=shards, trainer=None, warnings=warned)
        )
    summary = summarise(folder)
    assert (summary.diverged_slots, summary.vanilla_groups) == (6, 0)
    told = [line for line in printed([summary]).splitlines() if line.startswith("warning")]
    assert [line.rstrip() for line in told] == [
        "warning: esamp (beta 0.25): diverged slots: 6. Distiller slots whose numbers became non-finite; their groups stayed vanilla "
        "from then on.",
        "warning: esamp (beta 0.25): shard-0: the trainer is gone (trainer failed: 4)",
    ]
    assert read_summary(folder) == summary


def test_many_samples_that_were_cut_off_are_a_warning_with_the_way_out(tmp_path: Path) -> None:
    cut_off = [row(0, 0, finish_reason="length"), row(0, 1), row(1, 0), row(1, 1)]
    [warning] = summarise(make_run(tmp_path / "cut", CONFIG, [cut_off])).warnings
    assert "25% of samples were cut off at max_tokens" in warning and "Raise --sampling.max-tokens" in warning
    assert summarise(make_run(tmp_path / "full", CONFIG, [[row(0, 0), row(0, 1)]])).warnings == []


def test_a_counter_is_read_and_shown_from_its_one_field(tmp_path: Path) -> None:
    """Every counter has a place where it is read and stands in summary.json; every name it adds up is one that actors count."""
    counted = {entry.name for cls in (ShardStats, TrainerStats, Session) for entry in fields(cls)} | {"diverged_slots"}
    for name, counter in counters_of():
        assert counter.help and counter.unit, name
        assert {*counter.shards, *counter.trainer, *counter.session} <= counted, name
    summarise(folder := make_run(tmp_path, CONFIG, [[row(0, 0), row(0, 1)]]))
    assert {name for name, _ in counters_of()} <= set(json.loads(folder.storage.read("summary.json")))


def test_esamp_that_never_took_part_fails_loudly(tmp_path: Path) -> None:
    folder = make_run(tmp_path, CONFIG, [[row(0, 0, intervened_tokens=0), wrong(0, 1, intervened_tokens=0)]])
    with pytest.raises(RunError, match=r"beta=0.25 must explore.*vanilla samples"):
        summarise(folder)
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize(
    "config",
    [RunConfig(samples=2, sampler="vanilla"), RunConfig(sampler="esamp", samples=2, esamp=ESampConfig(beta=0))],
)
def test_a_run_that_shall_not_explore_need_not(tmp_path: Path, config: RunConfig) -> None:
    samples = [row(0, 0, intervened_tokens=0, loss=[NAN], lag_mean=None)] * 1 + [
        wrong(0, 1, intervened_tokens=0, loss=[], lag_mean=None)
    ]
    summary = summarise(make_run(tmp_path, config, [samples]))
    assert (summary.distiller_loss_start, summary.mean_lag, summary.intervened_share) == (None, None, 0.0)


def test_a_run_in_which_everything_failed_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="none of 2 samples could be generated; the first failed with: too long"):
        summarise(make_run(tmp_path, CONFIG, [[failed(0, 0), failed(0, 1)]]))


def test_the_table_puts_runs_side_by_side(tmp_path: Path) -> None:
    vanilla = RunConfig(samples=2, sampler="vanilla")
    plain = [row(0, 0, intervened_tokens=0, loss=[]), wrong(0, 1, intervened_tokens=0, loss=[])]
    summaries = [
        summarise(make_run(tmp_path / "vanilla", vanilla, [plain])),
        summarise(make_run(tmp_path / "esamp", CONFIG, [[row(0, 0, loss=[3.0]), row(0, 1, loss=[3.0])]])),
    ]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(summary_table(summaries))
    text = capture.get()
    assert "1 problems x 2 samples" in text
    assert [line for line in text.splitlines() if "pass@1" in line and "50.0%" in line and "100.0%" in line]
    assert "3 -> 3" in text
