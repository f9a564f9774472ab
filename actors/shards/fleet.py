"""The actors of one run: LLM shards and, with esamp.trainer "actor", their DistillerTrainers. Starts them, waits until they are ready,
kills them.

A fleet starts with `min_shards` and grows to `num_shards` as the cluster does. Ray restarts a shard that died; for its work units see
actors/shards/router.py.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.autoscaler.sdk import request_resources
from ray.exceptions import ActorUnavailableError, RayError

from actors.config import EngineConfig, ShardConfig, learns_elsewhere
from actors.errors import EngineStartError, last_line
from actors.names import actor_name, shard_name
from actors.shards.shard_actor import ShardActor
from actors.trainers.pool import TrainerPool
from actors.types import ShardStats, TrainerSpec, TrainerStats

logger = logging.getLogger(__name__)

CALLS_PER_SHARD = 1024
"""Concurrent calls of one shard; the engine queues what its batch cannot hold."""
RETRY_S = 1.0
"""Between two calls to a shard that is restarting."""
GROWTH_INTERVAL_S = 2.0
"""Between two checks whether the cluster has room for another shard."""
STATS_TIMEOUT_S = 20.0
"""A shard that is restarting at the end of a session has no counters; a run does not wait longer for them."""


def check_resources(config: ShardConfig, num_shards: int) -> None:
    """Raise ValueError if the cluster as it stands can never hold the shards. Ray would keep them pending for ever."""
    total = ray.cluster_resources()
    for resource, each, suggestion in (
        ("GPU", config.engine.num_gpus, "Use --engine.num-gpus 0 to run on CPU, or add GPU nodes."),
        ("CPU", config.engine.num_cpus, "Use fewer --shards or a smaller --engine.num-cpus, or add nodes."),
    ):
        if each * num_shards > total.get(resource, 0):
            raise ValueError(
                f"{num_shards} shard(s) need {each * num_shards:g} {resource}(s), but the cluster has {total.get(resource, 0):g}. "
                f"{suggestion}"
            )

    largest = max((node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    if config.engine.num_gpus > largest:
        raise ValueError(
            f"a shard needs {config.engine.num_gpus:g} GPUs on one node, but the largest has {largest:g}. Use a smaller --engine.num-gpus."
        )


def has_room(engine: EngineConfig, num_shards: int, *, other_cpus: float) -> bool:
    """True if the cluster, empty, would hold so many shards and `other_cpus` beside them."""
    total = ray.cluster_resources()
    return num_shards * engine.num_cpus + other_cpus <= total.get(
        "CPU", 0
    ) and num_shards * engine.num_gpus <= total.get("GPU", 0)


def get_when_available(call: Callable[[], ObjectRef]) -> Any:
    """The result of a call to a shard that may die and restart before the run has begun. Raises ActorDiedError if it cannot start."""
    while True:
        try:
            return ray.get(call())
        except ActorUnavailableError:
            time.sleep(RETRY_S)


class Fleet:
    """Shards and trainers as a context manager: `with Fleet(config, num_shards=2) as fleet: ...`."""

    shard_class: type[ShardActor] = ShardActor
    """Class of its actors."""

    def __init__(
        self, config: ShardConfig, *, num_shards: int, min_shards: int | None = None, num_trainers: int = 1
    ) -> None:
        """`min_shards`: how many must be ready before the block begins; all, by default."""
        self.config = config
        self.num_shards = num_shards
        self.min_shards = min_shards or num_shards
        self.num_trainers = num_trainers
        self.shards: list[ActorHandle] = []
        self._pool: TrainerPool | None = None
        self._is_over = threading.Event()
        self._growth: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start everything. Raises EngineStartError with the engine's reason, TrainerStartError with a trainer's, and ValueError if the
        cluster is too small."""
        check_resources(self.config, self.min_shards)
        try:
            self.shards = [self._new_shard(index) for index in range(self.min_shards)]
            for shard in self.shards:
                get_when_available(shard.stats.remote)
            if learns_elsewhere(self.config.policy):
                self._start_trainers()
            for shard in self.shards:
                get_when_available(partial(shard.join.remote, self.trainers))
        except RayError as error:
            self.stop()
            raise EngineStartError(last_line(error)) from error
        except BaseException:  # Ctrl-C too: `__exit__` is not called where `__enter__` raised
            self.stop()
            raise
        return self

    @property
    def trainers(self) -> tuple[ActorHandle, ...]:
        """Its trainers; empty without any."""
        return self._pool.handles if self._pool else ()

    def grow(self, router: ActorHandle, *, other_cpus: float) -> None:
        """Ask the autoscaler for the whole fleet, and start further shards as the cluster gets room for them beside `other_cpus`; the
        router adds each when its engine has started. Until `stop`."""
        if self.num_shards > len(self.shards):
            self._growth = threading.Thread(
                target=self._grow, args=(router, other_cpus), name="fleet-growth", daemon=True
            )
            self._growth.start()

    def stats(self) -> list[ShardStats]:
        """Counters and warnings of every shard that answers, since its latest start."""
        calls = [shard.stats.remote() for shard in self.shards]
        ray.wait(calls, num_returns=len(calls), timeout=STATS_TIMEOUT_S)
        found: list[ShardStats] = []
        for call in calls:
            try:
                found.append(ray.get(call, timeout=0))
            except RayError as error:
                logger.warning("the counters of a shard are missing: %s", last_line(error))
        return found

    def trainer_stats(self) -> TrainerStats | None:
        """Counters and warnings of the trainers together; None without any."""
        return self._pool.stats() if self._pool else None

    def stop(self) -> None:
        """Kill every actor."""
        self._is_over.set()
        if self._growth is not None:
            self._growth.join()
            request_resources(bundles=[])
        for shard in self.shards:
            ray.kill(shard)
        if self._pool is not None:
            self._pool.stop()
        self.shards, self._pool = [], None

    def _new_shard(self, index: int) -> ActorHandle:
        engine, name = self.config.engine, shard_name(index)
        return (
            ray.remote(self.shard_class)
            .options(
                name=actor_name(name),
                num_cpus=engine.num_cpus,
                num_gpus=engine.num_gpus,
                max_concurrency=CALLS_PER_SHARD,
                max_restarts=-1,
                runtime_env={"env_vars": {"OMP_NUM_THREADS": str(max(1, round(engine.num_cpus)))}},
            )
            .remote(self.config, name=name)
        )

    def _start_trainers(self) -> None:
        spec: TrainerSpec = get_when_available(self.shards[0].trainer_spec.remote)
        banks = spec.config.distiller_scope.num_banks(self.num_shards)
        self._pool = TrainerPool(
            replace(spec, max_groups=spec.max_groups * banks),
            num_trainers=self.num_trainers,
            num_gpus=self.config.exchange.trainer_gpus,
        )

    def _grow(self, router: ActorHandle, other_cpus: float) -> None:
        engine = self.config.engine
        shard_bundle = {"CPU": engine.num_cpus} | ({"GPU": engine.num_gpus} if engine.num_gpus else {})
        request_resources(bundles=[shard_bundle] * self.num_shards + [{"CPU": 1}] * round(other_cpus))
        while len(self.shards) < self.num_shards and not self._is_over.wait(GROWTH_INTERVAL_S):
            # Started only when it fits: an actor that Ray holds pending would take the place of the run's other stages on a node that comes
            # back.
            if has_room(engine, len(self.shards) + 1, other_cpus=other_cpus):
                name, shard = shard_name(len(self.shards)), self._new_shard(len(self.shards))
                self.shards.append(shard)
                router.add.remote(shard, name)
                logger.info("the cluster has room for shard %d of %d", len(self.shards), self.num_shards)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
