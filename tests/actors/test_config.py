"""Engine arguments that are passed through to vLLM, and those that are refused before an engine starts."""

import pytest

from actors.config import EngineConfig, SamplingConfig, ShardConfig
from esamp.baselines.config import ContrastiveConfig
from esamp.config import ESampConfig
from esamp.fork_bonus.config import TrieConfig
from esamp.joint.config import QuasiConfig
from pipelines.config.identity import config_hash
from pipelines.config.run import RunConfig


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("fp8", "must be a JSON object such as"),
        ('["fp8"]', "must be a JSON object such as"),
        ('{"max_model_len": 9}', "must not set max_model_len: use --engine.max-model-len"),
        ('{"speculative_config": {}}', "must not set speculative_config: the samplers draw one token a step"),
        ('{"pipeline_parallel_size": 2}', "use more --shards"),
    ],
)
def test_an_engine_argument_that_cannot_be_passed_through_is_refused(extra: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineConfig(extra=extra)


def test_lora_is_refused_before_an_engine_starts_where_a_policy_does_not_support_it() -> None:
    engine = EngineConfig(extra='{"enable_lora": true}')
    frozen = ESampConfig(trainer="none")
    for policy in (ESampConfig(), frozen, QuasiConfig(), TrieConfig(), ContrastiveConfig(amateur="m")):
        with pytest.raises(ValueError, match=rf"policy {policy.name} does not support LoRA.* Merge the adapter"):
            ShardConfig(model="m", engine=engine, policy=policy)
    assert ShardConfig(model="m", engine=engine, policy=ESampConfig(beta=0)).engine.extra_arguments == {
        "enable_lora": True
    }


def test_an_empty_stop_text_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty, since every sample would end at once"):
        SamplingConfig(stop=("\ndef ", ""))


def test_an_extra_argument_makes_another_run() -> None:
    plain, quantised = (
        RunConfig(sampler="esamp"),
        RunConfig(sampler="esamp", engine=EngineConfig(extra='{"quantization": "fp8"}')),
    )
    assert config_hash(plain) != config_hash(quantised)
