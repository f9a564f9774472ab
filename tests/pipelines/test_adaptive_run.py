"""Adaptive runs over real Ray and real Parquet, with stand-in shards: where problems stop, and that going on changes nothing.

The stand-in's verdicts follow from seeds, so every stop is known beforehand.
"""

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from actors.config import EngineConfig
from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.passk import run_passk
from pipelines.prepare.run import prepare_run
from pipelines.report.page import write_report
from pipelines.runs.early_stopping import Stop, stops_of
from pipelines.runs.folder import RunFolder
from pipelines.runs.plan import sample_seed
from pipelines.statistics.adaptive import adaptive_pass_at_k
from tests.pipelines.conftest import write_jsonl
from tests.pipelines.stand_in import StandInFleet

pytestmark = pytest.mark.ray
NUM_PROBLEMS = 12


def adaptive_config(folder: Path, **changes: Any) -> RunConfig:
    rows = [{"id": f"p{i}", "problem": f"say {i}", "answer": i} for i in range(NUM_PROBLEMS)]
    return RunConfig(
        **{
            "sampler": "esamp",
            "dataset": str(write_jsonl(folder / "data.jsonl", rows)),
            "output": folder / "run",
            "verifier": "exact",
            "samples": 8,
            "stop": StoppingConfig(successes=2, give_up_after=4),
            "samples_per_work_unit": 2,
            "work_units_per_file": 1,
            "shards": 2,
            "engine": EngineConfig(max_num_seqs=4),
            **changes,
        }
    )


def expected_stops(config: RunConfig) -> dict[str, Stop]:
    """By hand: the first place at which the rule holds."""
    rule = config.stopping_rule
    assert rule is not None
    stops = {}
    for problem in (f"p{i}" for i in range(NUM_PROBLEMS)):
        correct = [sample_seed(config.seed, problem, index) % 2 == 0 for index in range(config.samples)]
        n = next(n for n in range(1, config.samples + 1) if rule.allows(n, sum(correct[:n])))
        stops[problem] = Stop(samples=n, correct=sum(correct[:n]))
    return stops


def stored_stops(config: RunConfig) -> dict[str, Stop]:
    rule = config.stopping_rule
    assert rule is not None
    return stops_of(RunFolder(config.run_folder).finished_samples(), rule)


def no_fleet(*args: object, **kwargs: object) -> Any:
    raise AssertionError("nothing is left to draw")


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.mark.usefixtures("local_ray")
def test_problems_stop_where_the_rule_says_and_a_run_that_lost_a_part_comes_to_the_same_stops(tmp_path: Path) -> None:
    config = adaptive_config(tmp_path)
    expected = expected_stops(config)
    assert len({stop.samples for stop in expected.values()}) > 2, "the seeds of this test make no difference"
    summary = run_passk(config, console=quiet(), start_fleet=StandInFleet)
    assert stored_stops(config) == expected
    stopping = summary.stopping
    assert stopping is not None and summary.problems == NUM_PROBLEMS
    assert stopping.counted_samples == sum(stop.samples for stop in expected.values())
    assert stopping.given_up == sum(stop.correct == 0 for stop in expected.values())
    assert stopping.solved == sum(stop.correct == 2 for stop in expected.values())
    folder = RunFolder(config.run_folder)
    assert len(folder.finished_samples()) == stopping.counted_samples + stopping.discarded_samples
    assert [point.k for point in summary.pass_at] == [1, 2, 4]
    rule = config.stopping_rule
    assert rule is not None
    for point in summary.pass_at:
        by_hand = [adaptive_pass_at_k(stop.samples, stop.correct, point.k, rule) for stop in expected.values()]
        assert point.estimate == pytest.approx(sum(by_hand) / NUM_PROBLEMS)
    assert run_passk(config, console=quiet(), start_fleet=no_fleet) == summary, "a finished run is only summarised"

    for name in folder.files():
        with folder.storage.open(name) as file:
            unit_id = pq.read_table(file)["unit_id"][0].as_py()
        if unit_id in ("p0#0", "p3#0"):
            folder.storage.remove(name)
    run = prepare_run(config)
    assert set(run.folder.write_todo(run.manifest, 0)["problem_id"].to_pylist()) == {"p0", "p3"}
    again = run_passk(config, console=quiet(), start_fleet=StandInFleet)
    assert stored_stops(config) == expected
    assert again.pass_at == summary.pass_at

    with pytest.raises(InputError, match=r"stopped problems early.*jobs\.report"):
        write_report([folder], tmp_path / "report", config=None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("local_ray")
def test_a_failed_unit_leaves_its_problem_unfinished_and_stops_the_others(tmp_path: Path) -> None:
    rows = [{"id": "p0", "problem": "impossible 0", "answer": 0}, {"id": "p1", "problem": "say 1", "answer": 1}]
    config = adaptive_config(tmp_path, dataset=str(write_jsonl(tmp_path / "two.jsonl", rows)))
    summary = run_passk(config, console=quiet(), start_fleet=StandInFleet)
    run = prepare_run(config)
    assert set(run.folder.write_todo(run.manifest, 0)["problem_id"].to_pylist()) == {"p0"}
    assert summary.problems == 2 and summary.errors == 8, "as in every run, what failed counts as not correct"
