"""How large the pods of a run must be: from the model's shape and the closed-form capacity model, before anything is started."""

import math
from dataclasses import dataclass

from actors.config import learns_elsewhere
from esamp.config import ESampConfig
from pipelines.capacity.exchange import assess_exchange
from pipelines.capacity.model_speed import num_parameters
from pipelines.capacity.run import DRIVER_BYTES, DRIVER_BYTES_PER_UNIT
from pipelines.config.run import RunConfig
from pipelines.deploy.config import DeployConfig
from pipelines.errors import InputError
from pipelines.prepare.model_files import load_model_config
from pipelines.stages.ray_session import pipeline_cpus

GIB = 2**30
BF16 = 2
"""Bytes of a weight; engines of dtype float32 hold four."""
OBJECT_STORE_SHARE = 0.3
"""Ray takes this share of a node's memory for its object store, in /dev/shm; it counts against the pod's limit."""
ENGINE_BYTES = 10 * GIB
"""Of an engine's process beside its weights: Python, torch, CUDA's host memory, tokenizer, compiled graphs. An order of magnitude."""
VERIFIER_BYTES = 3 * GIB
"""Of one verifier with its sandbox's children."""
RAY_BYTES = 4 * GIB
"""Of Ray's own processes on a node, the head's dashboard and GCS included."""
RAY_CORES = 1
"""For a worker's own Ray processes and the engine's threads, beside what shards reserve."""
KV_CACHE_LEAST = 0.1
"""Share of a GPU's memory below which its KV cache holds too few samples to be worth a run."""
DRIVER_UNITS = 1_000_000
"""Work units that the driver's memory is laid out for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PodSize:
    """One group of pods."""

    replicas: int
    ray_cpus: int
    """CPUs that Ray may give away on such a pod; 0 keeps work off it."""
    cores: int
    memory_gib: int
    gpus: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterSize:
    """The pods of a run."""

    head: PodSize
    shards: PodSize
    cpu: PodSize


def cluster_size(run: RunConfig, deploy: DeployConfig) -> ClusterSize:
    """Pods that hold the run's shards, its verifiers and its driver, each exactly.

    A pod of shards offers Ray no core but those of its shards, so that verifiers, which run untrusted code, are placed in the group `cpu`.
    Raises InputError if the model cannot be loaded, or does not fit into its GPUs.
    """
    parameters = num_parameters(load_model_config(run).get_text_config())
    weights = parameters * (2 * BF16 if run.engine.dtype == "float32" else BF16)
    check_gpu_memory(run, deploy, weights)
    shards_per_pod = max(1, math.floor(1 / run.engine.num_gpus)) if run.engine.num_gpus else 1
    trainers = run.trainers if learns_elsewhere(run.policy) else 0
    trainer_bytes = trainers * assess_exchange(run).estimate.trainer_bytes if trainers else 0.0
    cpus = pipeline_cpus(run)
    shard_cpus = math.ceil(shards_per_pod * run.engine.num_cpus)
    kv_cache = 0.0 if run.engine.num_gpus else run.engine.kv_cache_gib * GIB
    return ClusterSize(
        head=PodSize(
            replicas=1,
            ray_cpus=0,
            cores=4,
            memory_gib=pod_gib(RAY_BYTES + DRIVER_BYTES + DRIVER_UNITS * DRIVER_BYTES_PER_UNIT),
        ),
        shards=PodSize(
            replicas=math.ceil(run.shards / shards_per_pod),
            ray_cpus=shard_cpus,
            cores=shard_cpus + RAY_CORES,
            memory_gib=pod_gib(RAY_BYTES + shards_per_pod * (weights + ENGINE_BYTES + kv_cache)),
            gpus=math.ceil(run.engine.num_gpus),
        ),
        cpu=PodSize(
            replicas=1,
            ray_cpus=cpus,
            # Ray counts no CPU for a trainer, and may place it on any pod; here is room for all of them.
            cores=cpus + trainers + RAY_CORES,
            memory_gib=pod_gib(RAY_BYTES + run.verifiers * VERIFIER_BYTES + trainer_bytes),
        ),
    )


def check_gpu_memory(run: RunConfig, deploy: DeployConfig, weights: float) -> None:
    """Raise InputError if weights, Distiller slots and a least KV cache do not fit into a shard's GPUs."""
    engine = run.engine
    if not engine.num_gpus:
        return
    slots = (
        assess_exchange(run).estimate.shard_bytes if isinstance(run.policy, ESampConfig) and run.policy.beta else 0.0
    )
    has = engine.num_gpus * deploy.gpu_memory_gib * GIB * engine.gpu_memory_utilization
    needs = weights + slots + KV_CACHE_LEAST * engine.num_gpus * deploy.gpu_memory_gib * GIB
    if needs > has:
        raise InputError(
            f"{run.model} needs about {needs / GIB:.0f} GiB of GPU memory (weights {weights / GIB:.0f}, Distillers {slots / GIB:.1f}), but "
            f"{engine.num_gpus:g} GPU(s) of {deploy.gpu_memory_gib:g} GiB give a shard {has / GIB:.0f}. Use a larger --run.engine.num-gpus."
        )


def pod_gib(resident: float) -> int:
    """Memory of a pod whose processes take so many bytes beside Ray's object store: the next multiple of 4 GiB."""
    return 4 * math.ceil(resident / (1 - OBJECT_STORE_SHARE) / GIB / 4)
