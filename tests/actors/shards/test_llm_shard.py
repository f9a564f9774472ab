"""LLM shards with the embedded model in real actors: samples, log-probabilities, and both places a Distiller can learn."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import ray
from ray import ObjectRefGenerator

from actors.config import EngineConfig, SamplingConfig, ShardConfig
from actors.shards.fleet import EngineStartError, Fleet
from actors.shards.llm_shard import sampling_params
from actors.types import Sample, WorkUnit
from esamp.config import ESampConfig
from pipelines.config.run import EMBEDDED_MODEL
from pipelines.problems.countdown import evaluation_problems

pytestmark = [pytest.mark.ray, pytest.mark.engine]
PROBLEMS = evaluation_problems(6)


def shard_config(esamp: ESampConfig | None, **engine: object) -> ShardConfig:
    settings = {
        "enforce_eager": True,
        "kv_cache_gib": 0.1,
        "max_num_seqs": 16,
        "dtype": "float32",
        "num_cpus": 0.5,
        **engine,
    }
    return ShardConfig(
        model=str(EMBEDDED_MODEL),
        engine=EngineConfig(**settings),  # type: ignore[arg-type]
        sampling=SamplingConfig(max_tokens=40, top_p=0.98),
        policy=esamp,
    )


def units(tag: str = "", samples: int = 8) -> list[WorkUnit]:
    return [
        WorkUnit(
            unit_id=f"{tag}{p.problem_id}",
            problem_id=p.problem_id,
            prompt=p.prompt,
            sample_indices=tuple(range(samples)),
            seeds=tuple(1000 * i + j for j in range(samples)),
        )
        for i, p in enumerate(PROBLEMS)
    ]


def draw(fleet: Fleet, wanted: list[WorkUnit]) -> list[list[Sample]]:
    streams = [fleet.shards[0].generate.remote(unit) for unit in wanted]
    return [all_of(stream) for stream in streams]


def all_of(stream: ObjectRefGenerator) -> list[Sample]:
    """The samples of a unit, in its order."""
    samples: list[Sample] = ray.get(list(stream))
    return sorted(samples, key=lambda sample: sample.sample_index)


@pytest.fixture(scope="module")
def vanilla(local_ray: None) -> Iterator[Fleet]:
    with Fleet(replace(shard_config(None), record_rollouts=True), num_shards=1) as fleet:
        yield fleet


def test_what_a_shard_does_is_read_without_waiting_for_its_engine(vanilla: Fleet) -> None:
    [shard] = vanilla.shards
    before = ray.get(shard.activity.remote())
    [samples] = draw(vanilla, units("activity")[:1])
    after = ray.get(shard.activity.remote())
    assert (after.shard, after.running, after.waiting, after.tokens_under_way) == ("shard-0", 0, 0, 0)
    assert after.finished - before.finished == len(samples)
    assert after.tokens - before.tokens == sum(len(sample.token_ids) for sample in samples)
    assert after.truncated - before.truncated == sum(sample.finish_reason == "length" for sample in samples)


def test_samples_come_back_in_order_with_everything_that_was_asked_for(vanilla: Fleet) -> None:
    wanted = units()
    for unit, samples in zip(wanted, draw(vanilla, wanted), strict=True):
        assert [s.sample_index for s in samples] == list(unit.sample_indices)
        assert tuple(s.seed for s in samples) == unit.seeds
        for s in samples:
            assert s.problem_id == unit.problem_id and s.finish_reason in ("stop", "length") and s.prompt_token_ids
            per_token = (s.behaviour_logprobs, s.policy_logprobs, s.intervened, s.novelty, s.lag, s.loss)
            assert {len(values) for values in per_token} == {len(s.token_ids)}
            assert not any(s.intervened) and s.distiller_version == ""
            assert s.sampling_logprobs == s.behaviour_logprobs, "no policy took part"
            assert s.kept_token_ids is not None and s.kept_token_offsets is not None and not s.kept_tokens_capped
            kept = [set(s.kept_token_ids[start:end]) for start, end in pairwise(s.kept_token_offsets)]
            assert [len(tokens) for tokens in kept] == s.num_candidates
            assert all(token in tokens for token, tokens in zip(s.token_ids, kept, strict=True))
    assert len({s.text for samples in draw(vanilla, wanted[:1]) for s in samples}) > 1


def test_vllm_is_told_to_end_a_sample_before_a_stop_text() -> None:
    shard = replace(shard_config(None), sampling=SamplingConfig(stop=("\ndef ",)))
    params = sampling_params(shard, units("stopping")[0], sample_index=0, seed=1, request_id="r")
    assert params.stop == ["\ndef "] and not params.include_stop_str_in_output and params.detokenize


def test_a_sample_depends_on_its_seed_and_not_on_its_company(vanilla: Fleet) -> None:
    together = draw(vanilla, units("again-"))
    exclusive = draw(vanilla, units("alone-")[2:3])
    assert [s.token_ids for s in exclusive[0]] == [s.token_ids for s in together[2]]


def test_a_prompt_the_model_cannot_take_fails_its_own_unit_only(vanilla: Fleet) -> None:
    impossible = WorkUnit(unit_id="long", problem_id="long", prompt="1 " * 400, sample_indices=(0, 1), seeds=(1, 2))
    calls = [vanilla.shards[0].generate.remote(unit) for unit in [impossible, units("ok-")[0]]]
    with pytest.raises(ValueError, match=r"(?i)length|longer|maximum"):
        all_of(calls[0])
    assert len(all_of(calls[1])) == 8


def cancel_in_flight(fleet: Fleet, unit: WorkUnit) -> list[Sample]:
    """Begin a unit, cancel its problem once some samples are finished: those."""
    shard, before = fleet.shards[0], fleet.stats()[0].samples
    call = shard.generate.remote(unit)
    while fleet.stats()[0].samples == before:
        time.sleep(0.01)
    ray.get(shard.cancel.remote(unit.problem_id))
    return all_of(call)


def many_samples(problem: int) -> WorkUnit:
    """More than a batch can hold by far."""
    [*_, unit] = units("many-", samples=400)[: problem + 1]
    return unit


def test_cancelling_a_problem_gives_back_what_was_finished_and_changes_nothing_for_others(vanilla: Fleet) -> None:
    undisturbed = draw(vanilla, units("before-")[:1])[0]
    wanted = many_samples(4)
    other = vanilla.shards[0].generate.remote(units("beside-")[0])
    finished = cancel_in_flight(vanilla, wanted)
    [stats] = vanilla.stats()
    assert 0 < len(finished) < 400 and {s.problem_id for s in finished} == {wanted.problem_id}
    assert stats.cancelled_samples == 400 - len(finished)
    assert 0 < stats.cancelled_tokens < 16 * 40, "those in the batch had begun"
    assert [s.token_ids for s in all_of(other)] == [s.token_ids for s in undisturbed]
    assert draw(vanilla, [replace(wanted, unit_id="late")]) == [[]], "a unit that comes late is not drawn"
    assert len(draw(vanilla, units("after-")[:1])[0]) == 8


@pytest.mark.slow
def test_cancelling_a_problem_frees_its_distiller_slot(local_ray: None) -> None:
    """There is one slot; the second problem gets it only if the first has let go of it."""
    esamp = ESampConfig(trainer="local", max_groups=1, inner_width=64)
    with Fleet(shard_config(esamp), num_shards=1) as fleet:
        cancel_in_flight(fleet, many_samples(0))
        [samples] = draw(fleet, units("next-")[1:2])
        [stats] = fleet.stats()
    assert stats.cancelled_samples > 0 and stats.vanilla_groups == 0
    assert all(all(s.intervened[1:]) for s in samples)


@pytest.mark.parametrize("trainer", ["local", "actor"])
@pytest.mark.slow
def test_distillers_learn_and_steer_wherever_the_trainer_is(local_ray: None, trainer: str) -> None:
    esamp = ESampConfig(trainer=trainer, max_groups=8, inner_width=64, learning_rate=3e-3)  # type: ignore[arg-type]
    with Fleet(shard_config(esamp), num_shards=1) as fleet:
        samples = [s for unit in draw(fleet, units()) for s in unit]
        trained = fleet.trainer_stats()  # before the shard's, which goes on sending what is still in its send queue
        [stats] = fleet.stats()
    tokens = sum(len(s.token_ids) for s in samples)
    assert stats.samples == len(samples) == 48
    assert stats.decode_tokens == tokens - 48
    assert stats.intervened_tokens == stats.decode_tokens == sum(sum(s.intervened) for s in samples)
    assert all(s.intervened[0] is False for s in samples), "the first token is drawn from the prompt"
    lags = [lag for s in samples for lag in s.lag if lag > 0]
    losses = [loss for s in samples for loss in s.loss if not math.isnan(loss)]
    assert losses and all(loss > 0 for loss in losses)
    if trainer == "local":
        assert set(lags) == {1} and stats.trained_rows == stats.decode_tokens
    else:
        assert trained is not None
        assert min(lags) >= 1 and stats.versions_received > 0
        assert stats.trained_rows + stats.dropped_rows <= stats.decode_tokens
        assert 0 < trained.trained_rows <= stats.trained_rows
        assert {s.distiller_version.split(":")[0] for s in samples} <= {"initial", trained.incarnation}


def test_a_fleet_that_cannot_fit_says_so(local_ray: None) -> None:
    with (
        pytest.raises(ValueError, match=r"need 1 GPU\(s\), but the cluster has 0. Use --engine.num-gpus 0"),
        Fleet(shard_config(None, num_gpus=1), num_shards=1),
    ):
        pass


def test_an_engine_that_cannot_start_gives_its_reason(local_ray: None) -> None:
    with (
        pytest.raises(EngineStartError, match="source_layer must be below the model's 6 layers; got 9"),
        Fleet(shard_config(ESampConfig(source_layer=9)), num_shards=1),
    ):
        pass


@pytest.mark.gpu
@pytest.mark.parametrize("num_gpus", [0.5, 2])
def test_shards_share_a_gpu_or_take_several(local_ray: None, num_gpus: float) -> None:
    """Untested: no machine with GPUs has run it yet."""
    esamp = ESampConfig(trainer="local", max_groups=8, inner_width=64)
    with Fleet(shard_config(esamp, num_gpus=num_gpus, gpu_memory_utilization=0.4), num_shards=2) as fleet:
        streams = [shard.generate.remote(unit) for shard in fleet.shards for unit in units()]
        drawn = [all_of(stream) for stream in streams]
        assert sum(stats.intervened_tokens for stats in fleet.stats()) == sum(
            len(sample.token_ids) - 1 for samples in drawn for sample in samples
        )
