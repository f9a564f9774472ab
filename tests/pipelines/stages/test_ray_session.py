"""Addresses and clusters that a run cannot have: one line each, before anything is written."""

import subprocess
import sys
from typing import Any

import pytest

from actors.config import EngineConfig, ExchangeConfig
from esamp.config import ESampConfig
from pipelines.config.run import RunConfig
from pipelines.errors import ClusterInputError, InputError, RunError
from pipelines.stages import ray_session


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("ray://head:10001", "Run the job on the cluster: python -m jobs.submit passk --address http://head:8265"),
        (
            "http://10.0.0.1:8265",
            "takes jobs and no drivers: python -m jobs.submit passk --address http://10.0.0.1:8265",
        ),
        ("tcp://head:1", "must be host:port of a cluster's head, such as head:6379"),
    ],
)
def test_an_address_of_something_else_is_refused_with_what_to_do(
    address: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_session.ray, "init", lambda **_: pytest.fail("nothing is connected to"))
    with pytest.raises(InputError, match="RAY_ADDRESS=") as refusal:
        ray_session.connect_to_cluster(address, None)
    assert part in str(refusal.value) and not isinstance(refusal.value, ClusterInputError)


@pytest.mark.parametrize(
    ("error", "kind", "part"),
    [
        (
            ConnectionError("Failed to connect to GCS."),
            ClusterInputError,
            "no Ray cluster answers at RAY_ADDRESS=head:6379",
        ),
        (
            RuntimeError("Version mismatch: The cluster was started with:\n Ray: 2.9"),
            InputError,
            "another Ray or Python",
        ),
    ],
)
def test_a_cluster_that_does_not_answer_or_fit_is_one_line(
    error: Exception, kind: type[Exception], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**settings: Any) -> None:
        raise error

    monkeypatch.setattr(ray_session.ray, "init", fail)
    with pytest.raises(kind) as refusal:
        ray_session.connect_to_cluster("head:6379", None)
    assert part in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**settings: Any) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen ...")

    monkeypatch.setattr(ray_session.ray, "init", fail)
    with pytest.raises(
        RunError, match=r"Ray did not start on this machine: The current node timed out during startup\. This"
    ):
        ray_session.start_ray(2, None)


LISTENERS = """
import psutil, ray
from pipelines.stages.ray_session import connected_ray

with connected_ray(1):
    ray.get(ray.remote(lambda: None).remote())
    processes = psutil.Process().children(recursive=True)
    listeners = [
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    print(len(processes), *sorted(set(listeners)))
"""


@pytest.mark.ray
def test_a_ray_of_our_own_listens_on_loopback_only() -> None:
    """In a process of its own, which starts it."""
    done = subprocess.run([sys.executable, "-c", LISTENERS], capture_output=True, text=True, timeout=120)
    processes, *addresses = done.stdout.split()
    assert int(processes) > 3 and addresses, done.stderr
    assert set(addresses) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


class GrowingCluster:
    """Has nothing at the first looks, as an autoscaled cluster, and everything from the third on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, grows_at: int) -> None:
        self.looks, self.grows_at, self.asked = 0, grows_at, list[list[dict[str, float]]]()
        monkeypatch.setattr(ray_session.ray, "cluster_resources", self.resources)
        monkeypatch.setattr(ray_session.ray, "nodes", lambda: [{"Alive": True, "Resources": {"GPU": 8}}])
        monkeypatch.setattr(ray_session, "request_resources", lambda bundles: self.asked.append(bundles))
        monkeypatch.setattr(ray_session.time, "sleep", lambda _: None)

    def resources(self) -> dict[str, float]:
        self.looks += 1
        return {"CPU": 32.0, "GPU": 8.0} if self.looks >= self.grows_at else {"CPU": 4.0}


def test_the_first_shards_of_a_cluster_that_grows_from_nothing_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = GrowingCluster(monkeypatch, grows_at=5)
    config = RunConfig(
        sampler="esamp",
        engine=EngineConfig(num_gpus=1),
        shards=2,
        wait_for_resources="30m",
        esamp=ESampConfig(trainer="local"),
    )
    ray_session.check_cluster(config)
    assert cluster.asked == [[{"CPU": 1.0, "GPU": 1}] * 2 + [{"CPU": 1.0}] * 2], "the autoscaler was told first"


def test_without_waiting_and_after_it_the_refusal_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    GrowingCluster(monkeypatch, grows_at=10**9)
    config = RunConfig(sampler="esamp", engine=EngineConfig(num_gpus=1), esamp=ESampConfig(trainer="local"))
    with pytest.raises(ClusterInputError, match=r"need 1 GPU\(s\), but the cluster has 0.*--wait-for-resources 30m"):
        ray_session.check_cluster(config)
    late = RunConfig(
        sampler="esamp", engine=EngineConfig(num_gpus=1), esamp=ESampConfig(trainer="local"), wait_for_resources="0.01s"
    )
    with pytest.raises(ClusterInputError, match=r"after 0.01s of waiting: 1 shard\(s\) need 1 GPU"):
        ray_session.check_cluster(late)
    with pytest.raises(InputError, match="90s, 30m or 2h; got '30'"):
        RunConfig(sampler="esamp", wait_for_resources="30")


def test_trainers_with_gpus_on_a_cluster_without_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray kept such a trainer pending for ever, and the run stood still without a word."""
    GrowingCluster(monkeypatch, grows_at=10**9)
    config = RunConfig(
        sampler="esamp", esamp=ESampConfig(trainer="actor"), exchange=ExchangeConfig(trainer_gpus=0.5), trainers=2
    )
    with pytest.raises(
        ClusterInputError,
        match=r"2 trainer\(s\) of 0.5 GPU\(s\) and 1 shard\(s\) of 0 need 1 GPU\(s\), but the cluster has 0",
    ):
        ray_session.check_cluster(config)
