"""The threads of an LLMShard: one runs the engine, Ray's event loop takes calls. The engine is a fake one; the threads are what is under
test."""

import asyncio
import queue
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from vllm import SamplingParams

from actors.config import EngineConfig, ShardConfig
from actors.errors import EngineFailed
from actors.shards import llm_shard
from actors.shards.llm_shard import LLMShard
from actors.types import Sample, WorkUnit
from esamp.config import ESampConfig
from esamp.engine.scheduler import SchedulerLoad
from esamp.fork_bonus.config import TrieConfig
from esamp.policy_config import PolicyConfig
from esamp.request_args import GROUP_SIZE_KEY
from esamp.telemetry import TokenRecords
from pipelines.config.run import EMBEDDED_MODEL

pytestmark = pytest.mark.engine  # imports vLLM
STEP_S = 0.005


@dataclass
class Completion:
    text: str = "7"
    token_ids: tuple[int, ...] = (1,)
    finish_reason: str = "stop"


@dataclass
class Output:
    request_id: str
    prompt_token_ids: tuple[int, ...] = (0,)
    outputs: list[Completion] = field(default_factory=lambda: [Completion()])


class TensorParallelEngine:
    """Workers that are reached by collective_rpc. Like vLLM's message queue it takes one call at a time, a step being one."""

    def __init__(self, num_steps: int) -> None:
        self._requests: dict[str, int] = {}
        self._num_steps = num_steps
        self._is_busy = threading.Lock()
        self.overlaps = 0
        self.group_sizes: list[int] = []
        self.ended_groups: list[str | None] = []
        self.steps = 0
        self.started_at: list[int] = []
        """Steps that were made before each request was added."""

    def add_request(self, request_id: str, prompt: object, params: SamplingParams) -> None:
        self._requests[request_id] = self._num_steps
        self.started_at.append(self.steps)
        self.group_sizes.append((params.extra_args or {})[GROUP_SIZE_KEY])

    def abort_request(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            self._requests.pop(request_id, None)

    def has_unfinished_requests(self) -> bool:
        return bool(self._requests)

    def step(self) -> list[Output]:
        self._call()
        self.steps += 1
        self._requests = {name: left - 1 for name, left in self._requests.items()}
        finished = [name for name, left in self._requests.items() if not left]
        for name in finished:
            del self._requests[name]
        return [Output(name) for name in finished]

    def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        self._call()
        if method == "esamp_counters":
            return [{"decode_rows": 3}]
        if method == "esamp_expect_no_more":
            self.ended_groups += args
            return []
        return [{request_id: TokenRecords().to_dict() for request_id in args[0]}]

    def _call(self) -> None:
        if not self._is_busy.acquire(blocking=False):
            self.overlaps += 1
            return
        time.sleep(STEP_S)
        self._is_busy.release()


class BrokenEngine(TensorParallelEngine):
    """Breaks in its first step."""

    def step(self) -> list[Output]:
        raise RuntimeError("out of blocks")


class RequestReader:
    """Stands in for the reader of the engine's scheduler, which these engines do not have."""

    def __init__(self, engine: TensorParallelEngine) -> None:
        self._engine = engine

    def load(self) -> SchedulerLoad:
        running = len(self._engine._requests)
        return SchedulerLoad(running=running, waiting=0, kv_cache_share=0.0, preemptions=0, tokens=0)


def start_shard(
    monkeypatch: pytest.MonkeyPatch, engine: TensorParallelEngine, policy: PolicyConfig | None = None
) -> LLMShard:
    monkeypatch.setattr(llm_shard.LLMEngine, "from_engine_args", lambda args, stat_loggers: engine)
    monkeypatch.setattr(llm_shard, "SchedulerReader", RequestReader)
    return LLMShard(
        ShardConfig(model=str(EMBEDDED_MODEL), engine=EngineConfig(num_gpus=2), policy=policy), name="shard-0"
    )


def unit(number: int) -> WorkUnit:
    return WorkUnit(unit_id=f"u{number}", problem_id="p", prompt="3 4 ->", sample_indices=(0,), seeds=(1,))


async def samples_of(shard: LLMShard, wanted: WorkUnit) -> list[Sample]:
    return [sample async for sample in shard.generate(wanted)]


def within(seconds: float, work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """What `work` returns. An event loop that hangs cannot time out by itself, so it runs in a thread."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.extend(asyncio.run(work)), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "the event loop hangs"
    return results


def test_counters_are_read_between_steps_of_a_tensor_parallel_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were read from the event loop while the engine stepped: two calls on one message queue."""
    engine = TensorParallelEngine(num_steps=40)
    shard = start_shard(monkeypatch, engine)

    async def ask_meanwhile() -> list[Any]:
        drawing = asyncio.ensure_future(samples_of(shard, unit(0)))
        stats = []
        while not drawing.done():
            stats.append(await shard.stats())
            await asyncio.sleep(0.001)
        return [await drawing, *stats]

    [samples, *stats] = within(60, ask_meanwhile())
    assert [type(sample) for sample in samples] == [Sample] and len(stats) > 3
    assert {one.decode_tokens for one in stats} == {3}
    assert engine.overlaps == 0


def test_the_time_in_which_a_shard_had_work_is_known_while_it_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = start_shard(monkeypatch, TensorParallelEngine(num_steps=50))

    async def stop_in_the_middle() -> float:
        stream = shard.generate(unit(0))
        sample = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(10 * STEP_S)
        seconds = (await shard.stats()).generation_seconds
        assert not sample.done(), "it is still under way"
        await sample
        return seconds

    assert asyncio.run(stop_in_the_middle()) >= 3 * STEP_S


def test_a_distiller_waits_for_all_work_units_of_its_problem_until_it_is_cancelled_or_the_round_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = TensorParallelEngine(num_steps=2)
    shard = start_shard(monkeypatch, engine)
    one_of_eight = replace(unit(0), group_size=8)

    async def generate_cancel_and_end() -> list[Any]:
        await samples_of(shard, one_of_eight)
        await samples_of(shard, unit(1))
        await shard.cancel("p")
        await shard.end_round()
        return [await shard.stats()]

    within(60, generate_cancel_and_end())
    assert engine.group_sizes == [8, 1], "a work unit on its own is its whole group"
    assert engine.ended_groups == ["p", None]
    assert replace(one_of_eight, sample_indices=(0, 1), seeds=(1, 2)).without({1}).group_size == 7


def test_staggered_samples_start_so_many_steps_apart_and_none_waits_for_an_idle_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each takes 5 steps: three steps apart they overlap; nine steps apart the engine would stand still for four."""
    for policy, starts in ((ESampConfig(stagger=3), [0, 3, 6]), (TrieConfig(stagger=9), [0, 5, 10])):
        engine = TensorParallelEngine(num_steps=5)
        shard = start_shard(monkeypatch, engine, policy)
        three = replace(unit(0), sample_indices=(0, 1, 2), seeds=(1, 2, 3))
        samples = within(60, samples_of(shard, three))
        assert [sample.sample_index for sample in samples] == [0, 1, 2]
        assert engine.started_at == starts


def test_a_staggered_sample_of_a_problem_that_is_cancelled_never_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TensorParallelEngine(num_steps=40)
    shard = start_shard(monkeypatch, engine, ESampConfig(stagger=30))

    async def cancel_meanwhile() -> list[Any]:
        two = asyncio.ensure_future(samples_of(shard, replace(unit(0), sample_indices=(0, 1), seeds=(1, 2))))
        await asyncio.sleep(4 * STEP_S)
        await shard.cancel("p")
        assert await two == []
        return [await shard.stats()]

    [stats] = within(60, cancel_meanwhile())
    assert stats.cancelled_samples == 2
    assert engine.started_at == [0]


class SlowQueue(queue.SimpleQueue):
    """Its `empty` is answered late, as to a thread that the scheduler takes off the processor just then."""

    def empty(self) -> bool:
        answer = super().empty()
        time.sleep(0.002)
        return answer


def test_units_that_arrive_while_the_engine_breaks_fail_and_nobody_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads once emptied the same queue, each seeing the last unit in it; the one that came second waited for ever."""
    monkeypatch.setattr(queue, "SimpleQueue", SlowQueue)
    for _ in range(20):
        shard = start_shard(monkeypatch, BrokenEngine(num_steps=1))

        async def keep_coming(shard: LLMShard = shard) -> list[Any]:
            calls = []
            for number in range(30):
                calls.append(asyncio.ensure_future(samples_of(shard, unit(number))))
                await asyncio.sleep(0.0005)
            return await asyncio.gather(*calls, return_exceptions=True)

        assert {type(result) for result in within(10, keep_coming())} == {EngineFailed}
        with pytest.raises(EngineFailed, match="out of blocks"):
            asyncio.run(shard.stats())


class StandingEngine(TensorParallelEngine):
    """Its second step does not return before it is told to."""

    def __init__(self) -> None:
        super().__init__(num_steps=2)
        self.go_on = threading.Event()

    def step(self) -> list[Output]:
        if any(left == 1 for left in self._requests.values()):
            self.go_on.wait()
        return super().step()


def test_a_sample_is_sent_before_its_siblings_are_finished_and_a_shard_answers_while_a_step_does_not_return(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = StandingEngine()
    shard = start_shard(monkeypatch, engine)
    add = engine.add_request

    def add_uneven(request_id: str, prompt: object, params: object) -> None:
        add(request_id, prompt, params)
        engine._requests[request_id] = 1 if "/0/" in request_id else 3

    monkeypatch.setattr(engine, "add_request", add_uneven)
    engine.go_on.set()

    async def ask() -> list[Any]:
        assert (await shard.activity()).running == 0, "it has nothing to do"
        stream = shard.generate(WorkUnit(unit_id="u", problem_id="p", prompt="", sample_indices=(1, 0), seeds=(1, 2)))
        first = await anext(stream)
        engine.go_on.clear()
        await asyncio.sleep(0.3)
        standing = [await shard.activity() for _ in range(2)]
        engine.go_on.set()
        return [first, standing, *[sample async for sample in stream]]

    first, standing, second = within(10, ask())
    assert (first.sample_index, second.sample_index) == (0, 1)
    assert [(one.running, one.finished, one.tokens) for one in standing] == [(1, 1, 1), (1, 1, 1)]


def test_the_tokens_of_a_shard_do_not_fall_while_a_sample_goes_from_the_running_to_the_ended_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The progress line of a real run showed 49,621 tokens/s: all tokens of a shard had been counted again."""
    shard = start_shard(monkeypatch, TensorParallelEngine(num_steps=1))
    loads = [SchedulerLoad(running=1, waiting=0, kv_cache_share=0.0, preemptions=0, tokens=n) for n in (100, 3, 104)]
    monkeypatch.setattr(shard._scheduler, "load", lambda: loads.pop(0))

    async def told() -> list[int]:
        return [(await shard.activity()).tokens for _ in range(3)]

    assert within(10, told()) == [100, 100, 104]
