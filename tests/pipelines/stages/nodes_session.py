"""A run on a Ray of several nodes on this machine, in a process of its own; nodes come and go while it works.

python -m tests.pipelines.stages.nodes_session lose DATASET OUTPUT   a node with a shard at work is killed, and another comes
python -m tests.pipelines.stages.nodes_session grow DATASET OUTPUT   the run begins with one shard of two, and a node comes that holds
the other

Stand-in shards of one CPU each. Prints, as JSON, which processes the lost node had.
"""

import asyncio
import io
import json
import os
import subprocess
import sys
import sysconfig
import threading
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.cluster_utils import Cluster
from rich.console import Console

from actors.config import ShardConfig
from actors.shards.fleet import Fleet
from actors.types import Sample, WorkUnit
from pipelines.config.run import RunConfig
from pipelines.passk import run_passk
from tests.pipelines.stand_in import StandInShard
from tests.pipelines.stand_in_session import session_config
from tests.processes import wait_until, workers

STORE_BYTES = 128 * 2**20
PLACE = {"place for a shard": 1}
CPUS = {"lose": (0, 2), "grow": (2, 1)}
"""Of the driver's node and of each other node. Without any on the driver's, the stages of the pipeline are on nodes that can be lost."""


class PatientShard(StandInShard):
    """The first shard keeps all but the first two problems until a second one has joined: a run must not end before it could grow."""

    def __init__(self, config: ShardConfig, *, name: str, joined: Path) -> None:
        super().__init__(config, name=name)
        self._joined = joined

    async def join(self, trainers: list[ActorHandle]) -> str:
        if self.name == "shard-1":
            self._joined.touch()
        return await super().join(trainers)

    async def generate(self, unit: WorkUnit) -> AsyncIterator[Sample]:
        while unit.problem_id not in ("p0", "p1") and not self._joined.exists():
            await asyncio.sleep(0.1)
        async for sample in super().generate(unit):
            yield sample


class NodesFleet(Fleet):
    """The real Fleet with stand-in shards, one to a node."""

    joined: Path

    def _new_shard(self, index: int) -> ActorHandle:
        return (
            ray.remote(PatientShard)
            .options(num_cpus=0, resources=PLACE, max_concurrency=64, max_restarts=-1)
            .remote(self.config, name=f"shard-{index}", joined=self.joined)
        )


def start_node(cluster: Cluster, *, num_cpus: int) -> subprocess.Popen[bytes]:
    """A node that comes while the run works. Cluster.add_node sets signal handlers, which only the main thread may; it has the run."""
    command = [Path(sysconfig.get_path("scripts"), "ray"), "start", "--block", f"--address={cluster.address}"]
    options = [f"--num-cpus={num_cpus}", f"--resources={json.dumps(PLACE)}", f"--object-store-memory={STORE_BYTES}"]
    ports = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    return subprocess.Popen([*command, *options, *ports], stdout=subprocess.DEVNULL)


def raylet_of(node: Any) -> int:
    """Process id: a node's workers are its children."""
    process: int = node.all_processes["raylet"][0].process.pid
    return process


def main(event: str, dataset: Path, output: Path) -> None:
    head_cpus, node_cpus = CPUS[event]
    head = {"num_cpus": head_cpus, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [
        cluster.add_node(num_cpus=node_cpus, resources=PLACE, object_store_memory=STORE_BYTES)
        for _ in range(2 if event == "lose" else 1)
    ]
    came: list[subprocess.Popen[bytes]] = []
    ray.init(address=cluster.address, log_to_driver=False)
    found: dict[str, int] = {}

    def lose_a_node(fleet: Fleet) -> None:
        wait_until(lambda: any(output.glob("samples/*.parquet")))
        node = next(node for node in nodes if workers("MapBatches", of=raylet_of(node)))
        [process] = workers("PatientShard", of=raylet_of(node))
        [shard] = [shard for shard in fleet.shards if ray.get(shard.work.remote())[0] == process]
        wait_until(lambda: ray.get(shard.work.remote())[1] > 0)
        found["shards"] = len(workers("PatientShard", of=raylet_of(node)))
        found["stages"] = len(workers("MapBatches", of=raylet_of(node)))
        cluster.remove_node(node, allow_graceful=False)
        came.append(start_node(cluster, num_cpus=node_cpus))

    def add_a_node(fleet: Fleet) -> None:
        wait_until(lambda: any(output.glob("samples/*.parquet")))
        came.append(start_node(cluster, num_cpus=node_cpus))

    class DisturbedFleet(NodesFleet):
        joined = output.with_name("a second shard has joined")

        def __enter__(self) -> "DisturbedFleet":
            super().__enter__()
            threading.Thread(target=self._disturb, daemon=True).start()
            return self

        def _disturb(self) -> None:
            try:
                {"lose": lose_a_node, "grow": add_a_node}[event](self)
            except BaseException:
                traceback.print_exc()
                os._exit(1)  # without its disturbance the run might wait for ever

    config: RunConfig = replace(
        session_config(dataset, output), shards=2, min_shards=1 if event == "grow" else None, sampler="vanilla"
    )
    run_passk(config, console=Console(file=io.StringIO()), start_fleet=DisturbedFleet)
    print(json.dumps(found))
    ray.shutdown()
    for node in came:
        node.terminate()
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
