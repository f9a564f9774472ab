"""A shard whose engine schedules asynchronously, as vLLM does by default on CUDA."""

import asyncio

import pytest

from actors.config import EngineConfig, SamplingConfig, ShardConfig
from actors.shards.llm_shard import LLMShard
from actors.types import Sample, WorkUnit
from esamp.config import ESampConfig
from pipelines.config.run import EMBEDDED_MODEL
from tests.esamp.engine.ahead import scheduling_ahead

pytestmark = pytest.mark.engine


async def samples_of(shard: LLMShard, unit: WorkUnit) -> list[Sample]:
    return [sample async for sample in shard.generate(unit)]


def test_a_sample_that_stops_has_as_many_records_as_tokens() -> None:
    """Once rollouts had one row too many of each sample that the end of text had ended."""
    unit = WorkUnit(
        unit_id="u",
        problem_id="p",
        prompt="3 5 7 25 -> 22\n",
        sample_indices=tuple(range(12)),
        seeds=tuple(range(100, 112)),
    )
    config = ShardConfig(
        model=str(EMBEDDED_MODEL),
        engine=EngineConfig(enforce_eager=True, kv_cache_gib=0.1, max_num_seqs=16, dtype="float32"),
        sampling=SamplingConfig(max_tokens=40),
        policy=ESampConfig(trainer="local", inner_width=48),
    )
    with scheduling_ahead():
        samples = asyncio.run(samples_of(LLMShard(config, name="ahead"), unit))
    assert len(samples) == 12 and sum(sample.finish_reason == "stop" for sample in samples) >= 6
    for sample in samples:
        columns = (
            sample.behaviour_logprobs,
            sample.policy_logprobs,
            sample.num_candidates,
            sample.flipped,
            sample.intervened,
            sample.novelty,
            sample.lag,
            sample.loss,
        )
        assert [len(column) for column in columns] == [len(sample.token_ids)] * len(columns)
