"""A run whose trainer cannot keep up says so before it starts."""

from dataclasses import replace
from pathlib import Path

from transformers import GPT2Config, Qwen2Config

from actors.config import EngineConfig
from esamp.config import ESampConfig
from pipelines.capacity.run import exchange_warning
from pipelines.config.run import RunConfig


def large_run(folder: Path) -> RunConfig:
    """Of a model of 7B parameters on a GPU, with a trainer on a CPU."""
    Qwen2Config(hidden_size=3584, num_hidden_layers=28, intermediate_size=18944).save_pretrained(folder)
    engine = EngineConfig(num_gpus=1, max_num_seqs=128)
    return RunConfig(model=str(folder), sampler="esamp", samples=16, engine=engine)


def test_a_trainer_that_cannot_keep_up_is_told_with_the_way_out(tmp_path: Path) -> None:
    config = large_run(tmp_path)
    warning = exchange_warning(config)
    assert warning is not None
    assert "the trainer may not keep up" in warning and "rows are dropped" in warning and "use trainer local" in warning
    assert exchange_warning(replace(config, esamp=ESampConfig(trainer="local"))) is None
    assert exchange_warning(replace(config, sampler="vanilla")) is None


def test_nothing_is_told_of_one_that_can() -> None:
    assert exchange_warning(RunConfig(sampler="esamp", samples=16)) is None


def test_a_model_that_does_not_name_its_feed_forward_width_is_estimated_as_well(tmp_path: Path) -> None:
    GPT2Config(n_embd=4096, n_layer=32, n_head=32).save_pretrained(tmp_path)
    warning = exchange_warning(replace(large_run(tmp_path / "other"), model=str(tmp_path)))
    assert warning is not None and "the trainer may not keep up" in warning
