"""esamp.trainer auto: the actor where it keeps up, else the engine; a run in the folder goes on with its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.config import EngineConfig, ExchangeConfig
from esamp.config import ESampConfig
from pipelines.capacity.exchange import assess_exchange, choose_trainer, with_trainer
from pipelines.config.run import RunConfig


@pytest.fixture(scope="module")
def large_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A config of 7B's hidden size; its weights are not needed."""
    from transformers import Qwen2Config

    folder: Path = tmp_path_factory.mktemp("large")
    Qwen2Config(hidden_size=3584, num_hidden_layers=28, intermediate_size=18944, vocab_size=152064).save_pretrained(
        folder
    )
    return str(folder)


def test_a_large_model_on_gpus_trains_in_its_engine_and_the_line_says_why(large_model: str) -> None:
    config = RunConfig(sampler="esamp", model=large_model, samples=64, shards=2, engine=EngineConfig(num_gpus=1))
    assert config.esamp.trainer == "auto"
    assert not assess_exchange(config).keeps_up
    chosen, line = choose_trainer(config, None)
    assert chosen.esamp.trainer == "local"
    assert line.startswith("esamp.trainer: local, each engine trains its own Distillers") and "too slow" in line
    assert replace(chosen, esamp=config.esamp) == config, "nothing else is changed"


def test_a_small_model_has_a_trainer_actor() -> None:
    chosen, line = choose_trainer(RunConfig(sampler="esamp", samples=4), None)
    assert (chosen.esamp.trainer, line.startswith("esamp.trainer: actor, since by the capacity model it keeps up")) == (
        "actor",
        True,
    )


@pytest.mark.parametrize(
    ("settings", "trainer", "reason"),
    [
        ({"engine": EngineConfig(num_gpus=2)}, "local", "tensor-parallel"),
        ({"exchange": ExchangeConfig(trainer_gpus=0.5)}, "actor", "exchange.trainer_gpus 0.5"),
        ({"trainers": 2}, "actor", "trainers 2"),
        ({"esamp": ESampConfig(trainer="auto", scope="cluster")}, "actor", "esamp.scope cluster"),
        ({"esamp": ESampConfig(trainer="auto", lag=4)}, "local", "esamp.lag 4"),
        ({"esamp": ESampConfig(trainer="auto", distiller="rls")}, "local", "esamp.distiller rls"),
        ({"sampler": "vanilla"}, "local", ""),
        ({"sampler": "vocabulary"}, "local", ""),
        ({"esamp": ESampConfig(trainer="sync")}, "sync", ""),
    ],
)
def test_what_the_run_asks_for_decides_first(settings: dict[str, Any], trainer: str, reason: str) -> None:
    chosen, line = choose_trainer(RunConfig(**{"sampler": "esamp", **settings}), None)
    assert chosen.esamp.trainer == trainer
    assert reason in line and bool(reason) == bool(line)


def test_a_run_goes_on_with_the_trainer_it_has() -> None:
    held = with_trainer(RunConfig(sampler="esamp", samples=4), "local")
    assert choose_trainer(RunConfig(sampler="esamp", samples=4), held) == (held, "")
