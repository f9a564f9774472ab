"""The report's numbers and words from runs made by hand; how it looks is tested in test_browser.py."""

import csv
import doctest
import json
import math
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from actors.config import SamplingConfig
from pipelines.errors import InputError
from pipelines.report import number_format
from pipelines.report.caveats import caveats, depends_on_siblings
from pipelines.report.config import DiversityConfig, ReadingConfig, ReportConfig
from pipelines.report.figures.staleness import lag_bins
from pipelines.report.figures.style import colour, themed_svg
from pipelines.report.measures.all_measures import measure_conditions
from pipelines.report.measures.comparison import compare_conditions, conclusion
from pipelines.report.measures.distiller import distiller_facts
from pipelines.report.measures.diversity import measure_diversity
from pipelines.report.measures.replicates import launch_order
from pipelines.report.page import write_report
from pipelines.report.readable_samples import choose_samples, collect_readable_samples
from pipelines.report.run_set import RunSet, read_run_set
from pipelines.statistics.interval import Interval
from pipelines.statistics.pass_at_k import pass_at_k
from tests.pipelines.report.report_runs import HOSTILE, PROBLEMS, config, write_run
from tests.pipelines.stored_rows import failed, make_run, row, wrong


@pytest.fixture(scope="module")
def run_set(tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    folder = tmp_path_factory.mktemp("runs")
    return read_run_set(
        [
            write_run(folder / "esamp", config("esamp"), solved_share=0.6),
            write_run(folder / "vanilla", config("vanilla", seed=5), solved_share=0.1),
        ]
    )


def test_measures_are_those_of_the_stored_verdicts(run_set: RunSet) -> None:
    by_name = {measure.name: measure for measure in measure_conditions(run_set)}
    correct_PN = run_set.conditions[1].runs[0].correct_PN
    for k in (1, 2, 4):
        expected = np.mean([pass_at_k(4, c, k) for c in correct_PN.sum(axis=1).tolist()])
        assert by_name[f"pass@{k} | group=4"].values[1].estimate == pytest.approx(expected)
        assert by_name[f"first {k}"].values[1].estimate == pytest.approx(correct_PN[:, :k].any(axis=1).mean())
    assert by_name["avg@n"].values[1].estimate == pytest.approx(correct_PN.mean())
    assert by_name["pass^4"].values[1].estimate == pytest.approx(correct_PN.all(axis=1).mean())
    tokens = run_set.conditions[1].runs[0].num_tokens_PN.sum()
    solved = correct_PN.any(axis=1).sum()
    assert by_name["tokens per solved problem"].values[1].estimate == pytest.approx(tokens / solved)
    assert by_name["tokens/s"].values[1].estimate == pytest.approx(tokens / 4.0)
    assert by_name["maj@1"].values[1].estimate == pytest.approx(correct_PN.mean())


@pytest.mark.parametrize("change", [{"shards": []}, {"shard_restarts": 1}, {"units_run_again": 2}])
def test_speed_is_per_second_of_the_session_where_shard_counters_do_not_cover_it(
    change: dict[str, object], tmp_path: Path
) -> None:
    """A session without shard counters used to end the report, and one with a restarted shard to overstate tokens/s."""
    run = write_run(tmp_path, config("vanilla"), solved_share=0.5)
    stored = tmp_path / "sessions.jsonl"
    session = json.loads(stored.read_text()) | change
    stored.write_text(json.dumps(session) + "\n")
    by_name = {measure.name: measure.values[0].estimate for measure in measure_conditions(read_run_set([run]))}
    assert session["seconds"] == 5.0
    assert by_name["tokens/s"] == pytest.approx(session["tokens"] / 5.0)


def test_a_clear_difference_is_said_to_be_one(run_set: RunSet) -> None:
    [comparison] = compare_conditions(run_set)
    assert (comparison.condition, comparison.baseline) == ("esamp (beta 0.25)", "vanilla")
    assert all(at.is_shown and at.paired.difference.low > 0 for at in comparison.at)
    text = conclusion(comparison)
    assert text.startswith("esamp (beta 0.25) beats vanilla at k = 1, 2, 4. pass@4 is ")
    assert "Chance does not explain this" in text and "could be chance" not in text
    assert comparison.solved is not None
    assert comparison.solved.only_a > comparison.solved.only_b and comparison.solved.p_value < 0.01


def test_no_difference_is_said_not_to_be_shown_and_how_small_a_one_could_have_been(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / sampler, config(sampler, seed=seed), solved_share=0.3)
        for sampler, seed in (("vanilla", 1), ("esamp", 2))
    ]
    [comparison] = compare_conditions(read_run_set(runs))
    text = conclusion(comparison)
    assert text.startswith("No difference between esamp (beta 0.25) and vanilla could be shown at any k.")
    detectable = 100 * comparison.at[-1].paired.detectable
    assert f"a true difference of {detectable:.1f} points at k = 4" in text and f"With {PROBLEMS} problems" in text


def test_the_order_of_runs_and_parts_changes_no_number(tmp_path: Path) -> None:
    """Resampling is seeded; another order of problems would draw other p-values, and near the level another verdict."""
    settings = [config("vanilla"), config("vanilla", seed=1), config("esamp", seed=2), config("esamp", seed=3)]
    runs = [write_run(tmp_path / f"{c.sampler}-{c.seed}", c, solved_share=0.3) for c in settings]
    first = compare_conditions(read_run_set(runs))
    for run in runs:
        run.storage.move("samples/0.parquet", "samples/2.parquet")
    assert compare_conditions(read_run_set(runs[::-1])) == first


def test_the_gain_by_coupling_is_told_of_joint_draws_at_the_same_settings_only(tmp_path: Path) -> None:
    settings = [
        config("vanilla"),
        config("quasi"),
        config("quasi", sampling=SamplingConfig(temperature=0.5)),
        config("esamp"),
    ]
    runs = [write_run(tmp_path / str(i), c, solved_share=0.3) for i, c in enumerate(settings)]
    joint, colder, learner = compare_conditions(read_run_set(runs))
    assert [at.k for at in joint.coupling] == [2], "up to half of the baseline's 4 samples"
    assert colder.condition == "quasi, temperature=0.5" and colder.coupling == [] and learner.coupling == []
    write_report(runs[:2], tmp_path / "report", ReportConfig())
    assert "By coupling alone" in (tmp_path / "report" / "report.html").read_text()


def test_groups_of_other_sizes_are_not_compared(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "v", config("vanilla"), solved_share=0.3),
        write_run(tmp_path / "e", replace(config("esamp"), samples=2), solved_share=0.3),
    ]
    run_set = read_run_set(runs)
    assert compare_conditions(run_set) == []
    by_name = {measure.name: measure for measure in measure_conditions(run_set)}
    assert math.isnan(by_name["pass@4 | group=n"].values[1].estimate)
    reading = collect_readable_samples(run_set, ReadingConfig())
    assert any("Groups differ in size" in caveat for caveat in caveats(run_set, launch_order(run_set), reading))


def test_diversity_is_taken_over_the_same_number_of_samples(run_set: RunSet) -> None:
    rows = {row.name: row for row in measure_diversity(run_set, DiversityConfig(problems=5, samples=3))}
    assert all(not math.isnan(value.estimate) for row in rows.values() for value in row.values)
    assert rows["distinct texts"].values[0].estimate == 1.0
    assert rows["distinct answers"].values[0].estimate == pytest.approx(2 / 3)
    own = np.exp(-run_set.conditions[0].runs[0].logprob_PN[:5, :3].mean(axis=1)).mean()
    assert rows["perplexity, own model"].values[0].estimate == pytest.approx(own)


def test_the_distillers_row_is_dashes_without_one(run_set: RunSet) -> None:
    facts = {fact.name: fact.cells for fact in distiller_facts(run_set)}
    assert all(cells[0] == "\u2013" for cells in facts.values())
    assert facts["rows not learned"][1] == "0"
    assert re.fullmatch(r"[\d.]+ MiB for 32 slot\(s\)", facts["memory of Distiller slots, computed"][1])


def test_problems_the_arms_disagree_on_come_first_and_samples_are_counted(run_set: RunSet) -> None:
    reading = collect_readable_samples(run_set, ReadingConfig(problems=6, samples=2))
    agreed = [len(problem.solved_by) in (0, 2) for problem in reading.problems]
    assert agreed == sorted(agreed) and len(reading.problems) == PROBLEMS
    assert reading.samples_shown == 6 * 2 * 2
    assert reading.samples_shown + reading.samples_left_out == PROBLEMS * 4 * 2
    assert reading.unmarked == 0
    shown = [sample for problem in reading.problems for sample in problem.conditions[1].samples]
    assert all(sample.marks for sample in shown)
    few = collect_readable_samples(run_set, ReadingConfig(characters=100))
    assert 0 < few.samples_shown < 10


def test_right_and_wrong_samples_are_shown_half_and_half() -> None:
    assert choose_samples([False] * 6 + [True] * 6, 4) == [0, 1, 6, 7]
    assert choose_samples([True] * 6, 4) == [0, 1, 2, 3]
    assert choose_samples([False, True, False], 8) == [0, 1, 2]


def test_failures_and_unknown_models_are_told(tmp_path: Path) -> None:
    settings = replace(config("esamp"), samples=2, model=str(tmp_path / "gone"))
    folder = make_run(tmp_path / "run", settings, [[row(0, 0), failed(0, 1), row(1, 0), wrong(1, 1)]], num_problems=3)
    run_set = read_run_set([folder])
    reading = collect_readable_samples(run_set, ReadingConfig())
    told = " ".join(caveats(run_set, launch_order(run_set), reading))
    assert "1 unfinished problems" in told and "1 samples that failed" in told and "tokenizer is not on this" in told
    assert distiller_facts(run_set)[-1].cells == ["not known"]


def test_a_task_without_verdicts_has_no_pass_at_k(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / s, config(s, verifier="none"), solved_share=0.0) for s in ("vanilla", "esamp")]
    assert "pass@k is undefined" in write_report(runs, tmp_path / "report", ReportConfig())
    html = (tmp_path / "report" / "report.html").read_text()
    assert "pass@1 |" not in html and "could be shown" not in html and "distinct-2" in html
    assert not (tmp_path / "report" / "figures" / "pass_at_k.png").exists()


def test_only_samplers_that_learn_from_siblings_are_said_to_make_samples_depend(tmp_path: Path) -> None:
    conditions = ["vanilla", "esamp", "sharpened", "frozen", "entropy-matched", "override", "min-p"]
    runs = [write_run(tmp_path / name, config(name), solved_share=0.3) for name in conditions]
    assert [
        condition.config.sampler for condition in read_run_set(runs).conditions if depends_on_siblings(condition)
    ] == [
        "esamp",
        "entropy-matched",
        "override",
    ]


def test_many_arms_keep_their_colours_apart_and_lags_that_are_all_one_fill_one_bin() -> None:
    assert len({colour(index) for index in range(6)}) == 6
    assert lag_bins(np.ones(5)).tolist() == [0.5, 1.5]


def test_everything_is_written_and_a_model_cannot_write_markup(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "vanilla", config("vanilla"), solved_share=0.2),
        write_run(tmp_path / "esamp", config("esamp"), solved_share=0.5, hostile=True),
    ]
    said = write_report(runs, tmp_path / "report", ReportConfig())
    html = (tmp_path / "report" / "report.html").read_text()
    assert said in unescape(html)
    assert HOSTILE not in html and "onerror='" not in html and html.count("<script>") == 1
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", html), "something would be fetched"
    pictures = sorted(path.stem for path in (tmp_path / "report" / "figures").glob("*.png"))
    assert pictures == ["differences", "diversity", "loss", "novelty", "outcomes", "pass_at_k", "staleness"]
    with (tmp_path / "report" / "tables" / "differences.csv").open() as file:
        assert [line["k"] for line in csv.DictReader(file)] == ["1", "2", "4"]
    with (tmp_path / "report" / "tables" / "problems.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * PROBLEMS


def test_a_single_run_has_a_report_of_its_own_and_the_same_each_time(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", config("vanilla"), solved_share=0.2)
    figures = []
    for name in ("one", "two"):
        assert "nothing to compare it with" in write_report([run], tmp_path / name, ReportConfig())
        html = (tmp_path / name / "report.html").read_text()
        figures.append(re.findall(r"<figure.*?</figure>", html, flags=re.DOTALL))
    assert figures[0] == figures[1]
    assert [re.findall(r'id="figure-(\w+)"', figure) for figure in figures[0]] == [
        ["pass_at_k"],
        ["diversity"],
        ["outcomes"],
    ]


UNDRAWN = {"policy_logprobs": None, "text": "", "extracted": None, "detail": None}
EMPTY = {
    "text": "",
    "token_ids": [],
    "num_tokens": 0,
    "novelty": [],
    "loss": [],
    "policy_logprobs": [],
    "extracted": "",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("samples", "rows"),
    [
        (1, [row(0, 0)]),
        (2, [{**failed(p, i), **UNDRAWN} for p in range(3) for i in range(2)]),
        (
            2,
            [
                {**failed(0, 0), **UNDRAWN},
                row(0, 1),
                wrong(1, 0, status="timeout"),
                wrong(1, 1, finish_reason="length"),
            ],
        ),
        (2, [wrong(p, i, status="no_answer", **EMPTY) for p in range(2) for i in range(2)]),
    ],
    ids=["one sample", "nothing drawn", "a bit of everything", "empty answers"],
)
def test_runs_with_next_to_nothing_in_them_have_a_report(samples: int, rows: list[dict], tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / sampler, replace(config(sampler), samples=samples), [rows])
        for sampler in ("vanilla", "esamp")
    ]
    said = write_report(runs, tmp_path / "report", ReportConfig())
    assert "No difference between esamp (beta 0.25) and vanilla could be shown" in said
    assert re.search(r"\d problems? can hardly show any difference", said)


def test_numbers_read_as_they_should() -> None:
    assert doctest.testmod(number_format).failed == 0
    share = Interval(estimate=0.123, low=0.1, high=np.nan, method="undefined")
    assert (number_format.number(share, "share"), number_format.ends(share, "share")) == ("12.3%", "")
    undefined = Interval(estimate=np.nan, low=np.nan, high=np.nan, method="undefined")
    assert (
        number_format.number(undefined, "number")
        == number_format.signed_points(undefined)
        == number_format.p_value(np.nan)
        == "\u2013"
    )
    near_zero = Interval(estimate=0.01, low=-0.0001, high=0.02, method="bootstrap")
    assert number_format.ends(near_zero, "share") == "0.0 to 2.0"
    cost = Interval(estimate=12345.0, low=999.4, high=np.inf, method="bootstrap")
    assert (number_format.number(cost, "number"), number_format.ends(cost, "number")) == ("12,345", "999 to \u221e")


def test_captions_cannot_carry_markup() -> None:
    with pytest.raises(ValueError, match="plain text"):
        themed_svg('<svg viewBox="0 0 1 1"></svg>', "x", 'a "quote"')


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiversityConfig(samples=1), "samples=1"),
        (lambda: ReadingConfig(samples=-1), "samples=-1"),
    ],
)
def test_settings_out_of_range_are_refused(make: type, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
