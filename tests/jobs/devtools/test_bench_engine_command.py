"""The engine bench's command line: what it measures is told before engines start."""

import pytest

from esamp.devtools.bench.model_cost import PolicyCost
from esamp.devtools.bench.report import cost_table
from jobs.devtools.bench_engine import main


def test_a_policy_that_is_not_measured_is_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--model", "some-model", "--modes", "vanila"])
    assert "--modes takes some of 'stock', 'vanilla', 'esamp, record=behaviour', 'esamp'" in capsys.readouterr().err


def test_the_table_shows_the_median_of_a_policys_rounds_and_their_spread() -> None:
    cost = PolicyCost(
        name="esamp",
        step_ms=1.0,
        cpu_ms=2.0,
        stock_cpu_ms=1.9,
        cpu_ratios=[1.0, 1.1, 1.5],
        speed_ratios=[0.9, 0.8, 0.7],
        unfused_steps=0,
    )
    cells = [next(iter(column.cells)) for column in cost_table([cost], "here").columns]
    assert cells == ["esamp", "1.100", "1.010-1.460", "0.80", "2.0", "1.9", "0"]
