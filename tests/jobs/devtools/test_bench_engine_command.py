"""The engine bench's command line: what it measures is told before engines start."""

import pytest

from esamp.devtools.bench.model_cost import PolicyCost
from esamp.devtools.bench.report import cost_table
from esamp.joint.config import QuasiConfig
from esamp.policies import parse_policy
from jobs.devtools.bench_engine import MODEL_MODES, main, model_condition


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("vanila", "got 'vanila'"),
        ("top-p", "sampler top-p is vLLM's own draw, which is mode stock"),
        ("quasi, temperature=0.8", "give --model-shape.temperature"),
        ("esamp, recrod=full", "sampler esamp has no setting 'recrod'"),
    ],
)
def test_a_mode_that_is_no_policy_is_refused_in_one_line(
    mode: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--model", "some-model", "--modes", mode])
    assert message in capsys.readouterr().err


def test_a_mode_is_the_policy_of_its_sampler_with_its_settings() -> None:
    assert model_condition("vanilla").policy == {"esamp": {"beta": 0.0}}
    assert model_condition("quasi, start=token 8").policy == {"quasi": QuasiConfig(start="token 8").to_dict()}
    assert all(parse_policy(model_condition(mode).policy) for mode in MODEL_MODES if mode != "stock")


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
