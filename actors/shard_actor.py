"""LLMShard with Ray put on: what a Fleet starts. vLLM is imported only where the engine runs, which saves the driver many seconds."""

from collections.abc import Sequence

from ray.actor import ActorHandle

from actors.config import ShardConfig
from actors.types import Sample, ShardStats, TrainerSpec, WorkUnit


class ShardActor:
    """Holds one LLMShard; each method is LLMShard's of the same name."""

    def __init__(self, config: ShardConfig, *, name: str) -> None:
        from actors.llm_shard import LLMShard

        self._shard = LLMShard(config, name=name)

    async def generate(self, unit: WorkUnit) -> list[Sample]:
        return await self._shard.generate(unit)

    async def cancel(self, problem_id: str) -> None:
        await self._shard.cancel(problem_id)

    async def stats(self) -> ShardStats:
        return await self._shard.stats()

    async def trainer_spec(self) -> TrainerSpec:
        return await self._shard.trainer_spec()

    async def use_trainers(self, trainers: Sequence[ActorHandle]) -> None:
        await self._shard.use_trainers(trainers)
