"""Connects a job to Ray: to the cluster it was sent to, else to a Ray of its own on this machine, which ends with it."""

import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
from ray._private import ray_constants
from ray.autoscaler.sdk import request_resources

from actors.config import learns_elsewhere
from actors.shards.fleet import check_resources
from pipelines.config.run import RunConfig
from pipelines.errors import ClusterInputError, InputError, RunError
from pipelines.logs.worker import worker_runtime_env

READ_WRITE_CPUS = 1
"""CPUs that reading the plan and writing samples need beside the shards and the verifiers."""
OBJECT_STORE_BYTES = 512 * 2**20
"""Of a Ray of our own; samples are small and leave it at once. What does not fit is spilled to disk."""

WAIT_INTERVAL_S = 5.0
"""Between two looks at a cluster that grows."""
WAIT_HINT = "On a cluster that grows, --wait-for-resources 30m waits for it."

WORKERS_STARTING = 8
"""Processes a Ray of our own may start at once. From four times this on it prints a warning; by default "this" is the number of cores."""


@contextmanager
def ray_session(configs: list[RunConfig], *, run_ids: list[str]) -> Iterator[None]:
    """Ray for runs made one after the other in the `with` block; see `connected_ray`. Its workers log as pipelines/logs has it.

    Raises InputError if the cluster can never hold one of the runs, for which Ray would wait for ever.
    """
    with connected_ray(max(map(pipeline_cpus, configs)), worker_runtime_env(run_ids)):
        for config in configs:
            check_cluster(config)
        yield


@contextmanager
def connected_ray(cpus: int, runtime_env: dict[str, Any] | None = None) -> Iterator[None]:
    """Ray for the `with` block; `runtime_env`: of all its workers.

    RAY_ADDRESS, which Ray sets for a job, names a cluster; without it Ray is started here, and counts the `cpus` of the pipeline on
    top of the machine's cores, since these stages mostly wait. Ray that is already running in this process is used and left running.
    """
    quiet_ray_data()
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_ADDRESS" in os.environ:
        connect_to_cluster(os.environ["RAY_ADDRESS"], runtime_env)
    else:
        start_ray(cpus, runtime_env)
    try:
        with native_stderr_closed():
            yield
    finally:
        ray.shutdown()


def connect_to_cluster(address: str, runtime_env: dict[str, Any] | None) -> None:
    """Connect to the cluster at RAY_ADDRESS. Raises InputError if that is no head's address, or of a cluster of another Ray or Python, and
    ClusterInputError if nothing answers there."""
    check_address(address)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, runtime_env=runtime_env)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        reason = " ".join(str(error).split())
        if "Version mismatch" in reason:
            raise InputError(
                f"the cluster at RAY_ADDRESS={address} has another Ray or Python than this process (Ray {ray.__version__}, Python "
                f"{platform.python_version()}): {reason}. Install the cluster's versions, or send the job there: python -m jobs.submit."
            ) from error
        raise ClusterInputError(
            f"no Ray cluster answers at RAY_ADDRESS={address}: {reason} Start one (ray start --head), correct the address "
            "(host:6379), or unset RAY_ADDRESS to run on this machine."
        ) from error


def check_address(address: str) -> None:
    """Raise InputError at an address of something else than a cluster's head node."""
    scheme, separator, host = address.partition("://")
    if not separator:
        return
    host = host.partition("/")[0].partition(":")[0] or "head"
    submit = f"python -m jobs.submit passk --address http://{host}:8265 ..."
    if scheme == "ray":
        raise InputError(
            f"RAY_ADDRESS={address} is Ray Client's address, through which a driver cannot read what its actors wrote. Run the job on the "
            f"cluster: {submit}"
        )
    if scheme in ("http", "https"):
        raise InputError(
            f"RAY_ADDRESS={address} is the address of a dashboard, which takes jobs and no drivers: {submit}"
        )
    raise InputError(f"RAY_ADDRESS={address} must be host:port of a cluster's head, such as {host}:6379.")


def start_ray(cpus: int, runtime_env: dict[str, Any] | None) -> None:
    """A Ray of our own on this machine. Raises RunError if it does not start."""
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(WORKERS_STARTING))
    try:
        with loopback_only():
            ray.init(
                address="local",
                num_cpus=(os.cpu_count() or 1) + cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=runtime_env,
            )
    except Exception as error:
        # The error boundary: Ray 2.60 raises a plain Exception when its processes do not come up in time, as on an overloaded machine.
        raise RunError(
            f"Ray did not start on this machine: {' '.join(str(error).split())} Nothing was written; try again."
        ) from error


@contextmanager
def loopback_only() -> Iterator[None]:
    """A Ray that is started in the `with` block listens on 127.0.0.1, as on macOS and Windows.

    On Linux Ray 2.60 listens on every interface, and replaces a loopback address that it is given by one that the network reaches. The
    variable that tells the systems apart is read when Ray is imported, which is long ago here; its own processes read it when they start.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        del os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR]


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
    """Raise ClusterInputError if the cluster cannot hold the shards and trainers that the run begins with, and the pipeline beside them.

    With --wait-for-resources only after that time, in which an autoscaler knows what is wanted.
    """
    wait_s = config.wait_for_resources_s
    if not wait_s:
        check_cluster_now(config)
        return
    deadline = time.monotonic() + wait_s
    request_resources(bundles=demand(config))
    while True:
        try:
            check_cluster_now(config)
            return
        except ClusterInputError as error:
            if time.monotonic() > deadline:
                request_resources(bundles=[])
                raise ClusterInputError(f"after {config.wait_for_resources} of waiting: {error}") from error
        time.sleep(min(WAIT_INTERVAL_S, wait_s / 10))


def demand(config: RunConfig) -> list[dict[str, float]]:
    """What the run begins with, as the autoscaler is asked for it: a bundle of each actor."""
    shards = config.min_shards or config.shards
    engine = config.engine
    shard = {"CPU": engine.num_cpus} | ({"GPU": engine.num_gpus} if engine.num_gpus else {})
    trainers = [{"GPU": gpus}] * config.trainers if (gpus := trainer_gpus(config)) else []
    return [shard] * shards + trainers + [{"CPU": 1.0}] * pipeline_cpus(config)


def trainer_gpus(config: RunConfig) -> float:
    """GPUs of one trainer of the run; 0 without trainers."""
    return config.exchange.trainer_gpus if learns_elsewhere(config.policy) else 0.0


def check_cluster_now(config: RunConfig) -> None:
    """Raise ClusterInputError if the cluster as it stands cannot hold what the run begins with."""
    shards = config.min_shards or config.shards
    try:
        check_resources(config.shard, shards)
    except ValueError as error:
        raise ClusterInputError(f"{error} {WAIT_HINT}") from error
    each, gpus = trainer_gpus(config), ray.cluster_resources().get("GPU", 0)
    wanted = shards * config.engine.num_gpus + config.trainers * each
    if each and wanted > gpus:
        raise ClusterInputError(
            f"{config.trainers} trainer(s) of {each:g} GPU(s) and {shards} shard(s) of {config.engine.num_gpus:g} need {wanted:g} GPU(s), "
            f"but the cluster has {gpus:g}. Use --exchange.trainer-gpus 0, fewer --trainers, or add GPU nodes. {WAIT_HINT}"
        )
    cpus = ray.cluster_resources().get("CPU", 0)
    needed = shards * config.engine.num_cpus + pipeline_cpus(config)
    if needed > cpus:
        raise ClusterInputError(
            f"{shards} shard(s) of {config.engine.num_cpus:g} CPU(s), {config.verifiers} verifier(s) and {READ_WRITE_CPUS} for "
            f"reading and writing need {needed:g} CPUs, but the cluster has {cpus:g}. Use fewer --shards or a smaller "
            "--engine.num-cpus, or add nodes; with --min-shards the run begins on what there is and grows."
        )
