"""Work units in a simulated shard: how far they are, and their samples."""

import asyncio
import time
from dataclasses import dataclass

from actors.types import Sample, WorkUnit


@dataclass(slots=True, eq=False)
class RunningUnit:
    """A unit in the inbox or in the batch."""

    unit: WorkUnit
    future: asyncio.Future[list[Sample]]
    loop: asyncio.AbstractEventLoop
    arrived: float
    steps: int = 0
    length: int = 0

    def request_ids(self) -> list[str]:
        """Of its samples."""
        return [f"{self.unit.unit_id}/{index}" for index in self.unit.sample_indices]


def blank_sample(running: RunningUnit, index: int, *, shard: str) -> Sample:
    """As large as an engine's sample; only its length and its seed are real."""
    unit, length = running.unit, running.length
    numbers = [0.0] * length
    return Sample(
        problem_id=unit.problem_id,
        sample_index=index,
        seed=unit.seeds[unit.sample_indices.index(index)],
        prompt_token_ids=[],
        text="",
        token_ids=[0] * length,
        finish_reason="length",
        behaviour_logprobs=numbers,
        policy_logprobs=numbers,
        num_candidates=[0] * length,
        flipped=[False] * length,
        intervened=[False] * length,
        novelty=numbers,
        lag=[-1] * length,
        loss=numbers,
        distiller_version="",
        shard=shard,
        generation_seconds=time.monotonic() - running.arrived,
    )
