"""The engine bench's command line: what it measures is told before engines start."""

import pytest

from actors.config import SamplingConfig
from esamp.devtools.bench.model_cost import ModelShape, PolicyCost
from esamp.devtools.bench.report import cost_table
from esamp.policies import parse_policy
from jobs.devtools.bench_engine import main
from pipelines.config.samplers import SAMPLERS
from pipelines.devtools.bench.sampler_conditions import conditions


@pytest.mark.parametrize(
    ("mode", "message"),
    [("vanila", "got 'vanila'"), ("esamp, recrod=full", "sampler esamp has no setting 'recrod'")],
)
def test_a_mode_that_does_not_exist_is_refused_in_one_line(
    mode: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--model", "some-model", "--modes", mode])
    assert message in capsys.readouterr().err


def test_the_table_shows_the_median_of_a_policys_rounds_and_their_spread() -> None:
    cost = PolicyCost(
        name="esamp",
        tokens_per_s=1234.0,
        step_ms=1.0,
        cpu_ms=2.0,
        stock_cpu_ms=1.9,
        cpu_ratios=[1.0, 1.1, 1.5],
        speed_ratios=[0.9, 0.8, 0.7],
        unfused_steps=0,
    )
    cells = [next(iter(column.cells)) for column in cost_table([cost], ModelShape(), "here").columns]
    assert cells == ["esamp", "1.100", "1.010-1.460", "0.80", "1,234", "2.0", "1.9", "3", "0"]


def test_every_sampler_can_be_measured_as_a_run_has_it() -> None:
    by_name = {one.name: one for one in conditions((), SamplingConfig(), amateur="weaker")}
    assert set(by_name) == {*SAMPLERS, "stock", "esamp, record=behaviour"}
    policies = {name: parse_policy(one.policy) for name, one in by_name.items() if name != "stock"}
    assert policies["contrastive"].to_dict()["amateur"] == "weaker"
    assert policies["frozen"].to_dict()["trainer"] == "none" and policies["esamp"].to_dict()["trainer"] == "local"
    assert policies["sharpened"] == policies["vanilla"]
    assert by_name["sharpened"].sampling.temperature == 0.8 and by_name["top-p"].sampling.top_p == 0.95


def test_a_sampler_is_measured_with_settings_of_its_own() -> None:
    [rls, start, cold] = conditions(
        ("esamp, distiller=rls", "quasi, start=token 8", "vanilla, temperature=0.7"), SamplingConfig(), amateur="weaker"
    )
    assert parse_policy(rls.policy).to_dict()["distiller"] == "rls"
    assert parse_policy(start.policy).to_dict()["start"] == "token 8"
    assert cold.sampling.temperature == 0.7
