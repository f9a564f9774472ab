"""Connects a job to Ray: to the cluster it was sent to, else to a Ray of its own on this machine, which ends with it."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.data

from actors.shards.fleet import check_resources
from pipelines.config.run import RunConfig
from pipelines.errors import ClusterInputError

READ_WRITE_CPUS = 1
"""CPUs that reading the plan and writing samples need beside the shards and the verifiers."""
OBJECT_STORE_BYTES = 512 * 2**20
"""Of a Ray of our own; samples are small and leave it at once. What does not fit is spilled to disk."""

WORKERS_STARTING = 8
"""Processes a Ray of our own may start at once. From four times this on it prints a warning; by default "this" is the number of cores."""


@contextmanager
def ray_session(configs: list[RunConfig]) -> Iterator[None]:
    """Ray for runs made one after the other in the `with` block; see `connected_ray`.

    Raises ClusterInputError if the cluster can never hold one of the runs, for which Ray would wait for ever.
    """
    with connected_ray(max(map(pipeline_cpus, configs))):
        for config in configs:
            check_cluster(config)
        yield


@contextmanager
def connected_ray(cpus: int) -> Iterator[None]:
    """Ray for the `with` block.

    RAY_ADDRESS, which `ray job submit` sets, names a cluster; without it Ray is started here, and counts the `cpus` of the pipeline on
    top of the machine's cores, since these stages mostly wait. Ray that is already running in this process is used and left running.
    """
    quiet_ray_data()
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(WORKERS_STARTING))
        ray.init(
            address="local",
            num_cpus=(os.cpu_count() or 1) + cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        with native_stderr_closed():
            yield
    finally:
        ray.shutdown()


@contextmanager
def native_stderr_closed() -> Iterator[None]:
    """Keep what Ray's C++ code writes to standard error off the terminal: Python's own errors and logs still reach it.

    Ray Data starts its actors in a way that Ray 2.60 reports as an error, every time. Ray's log files hold these lines as well.
    """
    terminal, python_stderr = os.dup(2), sys.stderr
    with open(os.devnull, "w") as nowhere, os.fdopen(os.dup(2), "w", buffering=1) as stderr:
        python_stderr.flush()
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = stderr
        try:
            yield
        finally:
            sys.stderr = python_stderr
            os.dup2(terminal, 2)
            os.close(terminal)


def quiet_ray_data() -> None:
    """Our own progress line replaces Ray Data's bars and notices, and what it raises replaces what it logs."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def pipeline_cpus(config: RunConfig) -> int:
    """CPUs of all stages but generation."""
    return READ_WRITE_CPUS + config.verifiers


def check_cluster(config: RunConfig) -> None:
    """Raise ClusterInputError if the cluster cannot hold the shards that the run begins with, and the pipeline beside them."""
    shards = config.min_shards or config.shards
    try:
        check_resources(config.shard, shards)
    except ValueError as error:
        raise ClusterInputError(str(error)) from error
    cpus = ray.cluster_resources().get("CPU", 0)
    needed = shards * config.engine.num_cpus + pipeline_cpus(config)
    if needed > cpus:
        raise ClusterInputError(
            f"{shards} shard(s) of {config.engine.num_cpus:g} CPU(s), {config.verifiers} verifier(s) and {READ_WRITE_CPUS} for "
            f"reading and writing need {needed:g} CPUs, but the cluster has {cpus:g}. Use fewer --shards or a smaller "
            "--engine.num-cpus, or add nodes; with --min-shards the run begins on what there is and grows."
        )
