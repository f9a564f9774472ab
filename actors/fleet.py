"""The actors of one run: LLM shards and, where asked for, their DistillerTrainers. Starts them, waits until they are ready, ends them."""

import logging
from dataclasses import replace
from types import TracebackType

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from actors.config import ShardConfig
from actors.shard_actor import ShardActor
from actors.trainer_pool import TrainerPool
from actors.types import ShardStats, TrainerSpec, TrainerStats
from esamp.config import ESampConfig

logger = logging.getLogger(__name__)

CALLS_PER_SHARD = 1024
"""Calls one shard takes at a time; the engine queues what its batch cannot hold."""


class EngineStartError(RuntimeError):
    """An engine did not start; the message is the engine's own last line."""


def check_resources(config: ShardConfig, num_shards: int) -> None:
    """Raise ValueError if the cluster as it stands can never hold the shards. Ray would wait for ever."""
    total = ray.cluster_resources()
    for resource, each, way_out in (
        ("GPU", config.engine.num_gpus, "Use --engine.num-gpus 0 to run on CPU, or add GPU nodes."),
        ("CPU", config.engine.num_cpus, "Use fewer --shards or a smaller --engine.num-cpus, or add nodes."),
    ):
        if each * num_shards > total.get(resource, 0):
            raise ValueError(
                f"{num_shards} shard(s) need {each * num_shards:g} {resource}(s), but the cluster has {total.get(resource, 0):g}. {way_out}"
            )


class Fleet:
    """Shards and trainers as a context manager: `with Fleet(config, num_shards=2) as fleet: ...`."""

    def __init__(self, config: ShardConfig, *, num_shards: int, num_trainers: int = 1) -> None:
        self.config = config
        self.num_shards = num_shards
        self.num_trainers = num_trainers
        self.shards: list[ActorHandle] = []
        self._pool: TrainerPool | None = None

    def __enter__(self) -> "Fleet":
        """Start everything; raises EngineStartError with the engine's reason, ValueError if the cluster is too small."""
        check_resources(self.config, self.num_shards)
        engine = self.config.engine
        shard_class = ray.remote(ShardActor).options(
            num_cpus=engine.num_cpus,
            num_gpus=engine.num_gpus,
            max_concurrency=CALLS_PER_SHARD,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(max(1, round(engine.num_cpus)))}},
        )
        try:
            for index in range(self.num_shards):
                shard = shard_class.remote(self.config, name=f"shard-{index}")
                self.shards.append(shard)
                # One engine at a time: several starting together can exceed a node's memory and be killed.
                ray.get(shard.stats.remote())
            policy = self.config.policy
            if isinstance(policy, ESampConfig) and policy.trainer == "actor" and policy.beta > 0:
                self._start_trainers()
        except RayActorError as error:
            self.stop()
            raise EngineStartError(last_line(error)) from error
        except BaseException:
            self.stop()
            raise
        return self

    @property
    def trainers(self) -> tuple[ActorHandle, ...]:
        """Its trainers; empty without any."""
        return self._pool.handles if self._pool else ()

    def _start_trainers(self) -> None:
        spec: TrainerSpec = ray.get(self.shards[0].trainer_spec.remote())
        self._pool = TrainerPool(
            replace(spec, max_groups=spec.max_groups * self.num_shards),
            num_trainers=self.num_trainers,
            num_gpus=self.config.exchange.trainer_gpus,
        )
        ray.get([shard.use_trainers.remote(self.trainers) for shard in self.shards])

    def stats(self) -> list[ShardStats]:
        """Counters of every shard."""
        stats: list[ShardStats] = ray.get([shard.stats.remote() for shard in self.shards])
        return stats

    def trainer_stats(self) -> TrainerStats | None:
        """Counters of the trainers together; None without any."""
        return self._pool.stats() if self._pool else None

    def stop(self) -> None:
        """End every actor."""
        for shard in self.shards:
            ray.kill(shard)
        if self._pool is not None:
            self._pool.stop()
        self.shards, self._pool = [], None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def last_line(error: BaseException) -> str:
    """The reason at the end of a remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
