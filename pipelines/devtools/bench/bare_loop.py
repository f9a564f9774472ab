"""The pipeline bench's baseline: vLLM's own loop in a process of its own, without Ray, asyncio, records or files."""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from types import TracebackType
from typing import TYPE_CHECKING

from actors.config import ShardConfig
from actors.types import WorkUnit

if TYPE_CHECKING:
    from vllm import LLMEngine


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopTiming:
    """One run of the loop."""

    tokens: int
    seconds: float
    """From the first request to the last answer."""
    core_seconds: float
    """Of the process's threads."""


class BareLoop:
    """An engine that stays warm in its own process, on one core, for a `with` block."""

    def __init__(self, config: ShardConfig, *, core: int) -> None:
        self._pool = ProcessPoolExecutor(
            max_workers=1, mp_context=get_context("spawn"), initializer=start_engine, initargs=(config, core)
        )

    def __enter__(self) -> "BareLoop":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, units: list[WorkUnit], *, is_recording: bool = False) -> LoopTiming:
        """Generate every sample of the work units. `is_recording`: with the per-token records that a run keeps."""
        return self._pool.submit(run_loop, units, is_recording).result()


_engine: "LLMEngine"
_config: ShardConfig


def start_engine(config: ShardConfig, core: int) -> None:
    """In the process: pin it, then start the engine as a shard would."""
    os.sched_setaffinity(0, {core})
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    # Imported here: only this process needs vLLM.
    from vllm import LLMEngine

    from actors.shards.llm_shard import engine_args

    global _engine, _config
    _engine, _config = LLMEngine.from_engine_args(engine_args(config)), config


def run_loop(units: list[WorkUnit], is_recording: bool) -> LoopTiming:
    """In the process: all requests in, then step until nothing is left."""
    from actors.shards.engine_workers import the_worker
    from actors.shards.llm_shard import sampling_params
    from esamp.request_args import RECORD_KEY

    [worker] = _engine.collective_rpc(the_worker)
    tokens, started, cpu_started = 0, time.perf_counter(), time.process_time()
    for unit in units:
        for index, seed in zip(unit.sample_indices, unit.seeds, strict=True):
            request_id = f"{unit.unit_id}/{index}"
            params = sampling_params(_config, unit, sample_index=index, seed=seed, request_id=request_id)
            if not is_recording:
                del params.extra_args[RECORD_KEY]
            _engine.add_request(request_id, {"prompt": unit.prompt}, params)
    while _engine.has_unfinished_requests():
        for output in _engine.step():
            tokens += len(output.outputs[0].token_ids)
            if is_recording:
                worker.telemetry.pop([output.request_id])
    return LoopTiming(
        tokens=tokens, seconds=time.perf_counter() - started, core_seconds=time.process_time() - cpu_started
    )
