"""The actors of one run: LLM shards and, where asked for, their DistillerTrainer. Starts them, waits until they are ready, ends them."""

import logging
from types import TracebackType

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from actors.config import ShardConfig
from actors.distiller_trainer import DistillerTrainer
from actors.shard_actor import ShardActor
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
    """Shards and trainer as a context manager: `with Fleet(config, num_shards=2) as fleet: ...`."""

    def __init__(self, config: ShardConfig, *, num_shards: int) -> None:
        self.config = config
        self.num_shards = num_shards
        self.shards: list[ActorHandle] = []
        self.trainer: ActorHandle | None = None

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
                self._start_trainer()
        except RayActorError as error:
            self.stop()
            raise EngineStartError(last_line(error)) from error
        except BaseException:
            self.stop()
            raise
        return self

    def _start_trainer(self) -> None:
        spec: TrainerSpec = ray.get(self.shards[0].trainer_spec.remote())
        everyone = TrainerSpec(
            config=spec.config,
            output_gain=spec.output_gain,
            max_groups=spec.max_groups * self.num_shards,
            device=spec.device,
        )
        trainer = ray.remote(DistillerTrainer).options(num_cpus=0, max_restarts=-1).remote(everyone)
        ray.get(trainer.ping.remote())
        ray.get([shard.use_trainer.remote(trainer) for shard in self.shards])
        self.trainer = trainer

    def stats(self) -> list[ShardStats]:
        """Counters of every shard."""
        stats: list[ShardStats] = ray.get([shard.stats.remote() for shard in self.shards])
        return stats

    def trainer_stats(self) -> TrainerStats | None:
        """Counters of the trainer; None without one."""
        return ray.get(self.trainer.stats.remote()) if self.trainer else None

    def stop(self) -> None:
        """End every actor."""
        for actor in [*self.shards, *([self.trainer] if self.trainer else [])]:
            ray.kill(actor)
        self.shards, self.trainer = [], None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def last_line(error: BaseException) -> str:
    """The reason at the end of a remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
