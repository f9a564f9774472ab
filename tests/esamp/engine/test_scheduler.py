"""What the live line reads of vLLM's scheduler, and what is refused."""

from types import SimpleNamespace

import pytest

from esamp.engine.scheduler import SchedulerReader
from esamp.engine.surface import UnsupportedEngine


class FullScheduler:
    """A scheduler whose KV cache is too small for its requests."""

    def __init__(self) -> None:
        self.requests = {str(i): SimpleNamespace(num_output_tokens=10 * i) for i in range(4)}
        self.running, self.waiting = list(self.requests.values()), []
        self.kv_cache_manager = SimpleNamespace(usage=0.97)

    def _preempt_request(self, request: object, timestamp: float) -> str:
        self.running.remove(request)  # type: ignore[arg-type]
        return "preempted"


def engine_with(scheduler: object) -> object:
    return SimpleNamespace(engine_core=SimpleNamespace(engine_core=SimpleNamespace(scheduler=scheduler)))


def test_preemptions_are_counted_where_they_happen_and_tokens_stay() -> None:
    scheduler = FullScheduler()
    reader = SchedulerReader(engine_with(scheduler))
    assert (reader.load().running, reader.load().waiting, reader.load().tokens) == (4, 0, 60)
    assert scheduler._preempt_request(scheduler.running[3], 0.0) == "preempted"
    load = reader.load()
    assert (load.running, load.waiting, load.preemptions, load.kv_cache_share) == (3, 1, 1, 0.97)
    assert load.tokens == 60, "a preempted request keeps the tokens that it has"


def test_an_engine_in_another_process_and_an_unknown_scheduler_are_refused() -> None:
    with pytest.raises(UnsupportedEngine, match="set VLLM_ENABLE_V1_MULTIPROCESSING=0"):
        SchedulerReader(SimpleNamespace(engine_core=SimpleNamespace()))
    with pytest.raises(UnsupportedEngine, match=r"no kv_cache_manager\.usage"):
        SchedulerReader(engine_with(SimpleNamespace(running=[], waiting=[], requests={}, kv_cache_manager=object())))
