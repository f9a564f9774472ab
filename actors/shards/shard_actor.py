"""The Ray actor around an LLMShard: what a Fleet starts. vLLM is imported only where the engine runs, which saves the driver many seconds.

Ray restarts a shard that died as another incarnation of the same actor: a new engine, whose Distillers have no trainers before `join`.
"""

import asyncio
import logging
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import ray
from ray.actor import ActorHandle

from actors.config import ShardConfig
from actors.errors import EngineFailed, NotJoined
from actors.shards.start_lock import engine_start_lock
from actors.types import Sample, ShardActivity, ShardStats, TrainerSpec, WorkUnit

logger = logging.getLogger(__name__)

EXIT_DELAY_S = 1.0
"""Between an engine's failure and the end of its process: time for the reason to reach the callers."""


class Shard(Protocol):
    """What generates the samples: the methods of LLMShard, or of a stand-in for it."""

    async def use_trainers(self, trainers: Sequence[ActorHandle]) -> None: ...

    def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]: ...

    async def cancel(self, problem_id: str) -> None: ...

    async def end_round(self) -> None: ...

    async def stats(self) -> ShardStats: ...

    async def activity(self) -> ShardActivity: ...

    async def trainer_spec(self) -> TrainerSpec: ...


class ShardActor:
    """Holds one LLMShard; methods of the same name are LLMShard's."""

    name = "shard"

    def __init__(self, config: ShardConfig, *, name: str) -> None:
        self.name = name
        from actors.shards.llm_shard import LLMShard

        with engine_start_lock(ray.get_runtime_context().get_actor_id()):
            self._serve(LLMShard(config, name=name))

    def __repr__(self) -> str:
        """What Ray puts before the actor's lines in a log, and shows in its dashboard."""
        return self.name

    def _serve(self, shard: Shard) -> None:
        """`shard` has started."""
        self._shard = shard
        self._incarnation = uuid.uuid4().hex
        self._is_joined = False
        self._joining = asyncio.Lock()
        self._failure: EngineFailed | None = None

    async def join(self, trainers: Sequence[ActorHandle]) -> str:
        """Set who trains the Distillers (the engine itself, if empty), before the first unit; returns the incarnation of this shard.

        May be called again. Raises EngineFailed while the process of a failed engine ends, and what `use_trainers` raises.
        """
        if self._failure is not None:
            raise self._failure
        # A fleet and a router may both call while `use_trainers` runs; the second call must not start a second exchange.
        async with self._joining:
            if not self._is_joined and trainers:
                await self._shard.use_trainers(trainers)
            # Only now: a shard whose trainers are unknown must not take units, or it would never learn.
            self._is_joined = True
        return self._incarnation

    async def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]:
        """As LLMShard.generate; NotJoined before `join`. After EngineFailed this process ends, so that Ray restarts it.

        To a caller elsewhere Ray gives a generator of references, one for each sample as it is finished.
        """
        if not self._is_joined:
            raise NotJoined("the shard was started again and has not joined yet")
        try:
            async for sample in self._shard.generate(unit):
                yield sample
        except EngineFailed as error:
            self._failure = error
            asyncio.get_running_loop().call_later(EXIT_DELAY_S, os._exit, 1)
            raise

    async def cancel(self, problem_id: str) -> None:
        await self._shard.cancel(problem_id)

    async def end_round(self) -> None:
        await self._shard.end_round()

    async def stats(self) -> ShardStats:
        return await self._shard.stats()

    async def activity(self) -> ShardActivity:
        return await self._shard.activity()

    async def trainer_spec(self) -> TrainerSpec:
        return await self._shard.trainer_spec()
