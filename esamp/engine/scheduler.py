"""Plain counters of the scheduler of a vLLM engine that runs in this process: what a progress line shows of it.

Nothing here waits for the device or for a step: lengths of lists and numbers are read as they stand, from any thread. vLLM keeps the same
numbers in SchedulerStats, which it makes in every step, and only with its statistics on.
"""

from dataclasses import dataclass
from typing import Any

from esamp.engine.surface import UnsupportedEngine, has_path

SCHEDULER_ATTRIBUTES = ("running", "waiting", "requests", "kv_cache_manager.usage", "_preempt_request")
"""Names that are read of vLLM's V1 scheduler."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerLoad:
    """A scheduler at one moment."""

    running: int
    """Requests in the batch."""
    waiting: int
    """Requests that have arrived and are not in the batch."""
    kv_cache_share: float
    """Share of the KV cache's blocks that is in use, in [0, 1]."""
    preemptions: int
    """Times a request was taken out of the batch for want of KV cache, since this reader was made."""
    tokens: int
    """Tokens generated of the requests that have not ended."""


class SchedulerReader:
    """Reads an engine's scheduler. Raises UnsupportedEngine if it has other names than those known here."""

    def __init__(self, engine: Any) -> None:
        """`engine`: a vllm.LLMEngine with VLLM_ENABLE_V1_MULTIPROCESSING=0, so that its scheduler is an object of this process."""
        if not has_path(engine, "engine_core.engine_core.scheduler"):
            raise UnsupportedEngine(
                "the engine's scheduler is in another process; set VLLM_ENABLE_V1_MULTIPROCESSING=0."
            )
        self._scheduler = engine.engine_core.engine_core.scheduler
        for name in SCHEDULER_ATTRIBUTES:
            if not has_path(self._scheduler, name):
                raise UnsupportedEngine(
                    f"this vLLM's scheduler has no {name}, which the live counters read. Install vllm==0.32.0."
                )
        self._preemptions = 0
        # A request that ends takes its own count with it, so preemptions are counted where they happen.
        self._preempt = self._scheduler._preempt_request
        self._scheduler._preempt_request = self._counted_preempt

    def load(self) -> SchedulerLoad:
        """The scheduler now."""
        scheduler = self._scheduler
        # list() of a dict's values is one step of the interpreter, so the engine's thread cannot change the dict within it.
        requests = list(scheduler.requests.values())
        return SchedulerLoad(
            running=len(scheduler.running),
            waiting=max(0, len(requests) - len(scheduler.running)),
            kv_cache_share=float(scheduler.kv_cache_manager.usage),
            preemptions=self._preemptions,
            tokens=sum(request.num_output_tokens for request in requests),
        )

    def _counted_preempt(self, *args: Any, **kwargs: Any) -> Any:
        self._preemptions += 1
        return self._preempt(*args, **kwargs)
