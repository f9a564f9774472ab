"""Scopes that share what was learned: one Distiller for the cluster, one prior for all groups of a trainer."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import ray
import torch
from ray.actor import ActorHandle

from actors.distiller_trainer import DistillerTrainer
from actors.exchange import ActorLearner
from actors.types import TrainerSpec
from esamp.bank import build_bank
from esamp.config import ESampConfig
from esamp.distiller import DistillerBank
from esamp.hidden_rows import HiddenRows

pytestmark = pytest.mark.ray
H = 16


def config_of(scope: str) -> ESampConfig:
    return ESampConfig.from_dict({"inner_width": 8, "trainer": "actor", "scope": scope, "learning_rate": 1e-2})


def make_bank(scope: str) -> DistillerBank:
    bank = build_bank(config_of(scope), torch.ones(H), num_slots=4, head_weight_VH=None)
    assert isinstance(bank, DistillerBank)
    return bank


def make_rows(seed: int, slots: tuple[int, ...]) -> HiddenRows:
    source, target = torch.randn(2, len(slots), H, generator=torch.Generator().manual_seed(seed))
    return HiddenRows.of(source, target, slots)


def wait_until(claim: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def start_trainer(local_ray: None) -> Iterator[Callable[[str], ActorHandle]]:
    started: list[ActorHandle] = []

    def start(scope: str) -> ActorHandle:
        spec = TrainerSpec(config=config_of(scope), output_gain=np.ones(H, dtype=np.float32), max_groups=4)
        started.append(ray.remote(DistillerTrainer).options(num_cpus=0).remote(spec))
        ray.get(started[-1].ping.remote())
        return started[-1]

    yield start
    for trainer in started:
        ray.kill(trainer)


def test_with_cluster_scope_every_shard_steers_by_what_all_of_them_saw(
    start_trainer: Callable[[str], ActorHandle],
) -> None:
    trainer = start_trainer("cluster")
    shards = [ActorLearner(make_bank("cluster"), trainer, shard=name) for name in ("a", "b")]
    alone = make_bank("cluster")
    for shard in shards:
        shard.open(0, "shared")
    for step in range(6):
        rows, shard = make_rows(step, (0, 0)), shards[step % 2]
        shard.learn(rows)
        alone.train(rows)
        # A shard asks for weights after rows of its own, and then gets what the others taught as well.
        wait_until(lambda it=shard: (it.refresh(), torch.equal(it.bank.theta_SP[0], alone.theta_SP[0]))[1])
    assert ray.get(trainer.stats.remote()).groups == 1
    assert [shard.version(0).learned for shard in shards] == [3, 3], "lag counts the shard's own steps"
    assert str(shards[1].version(0)).split(":")[1:] == ["6", "12"], "the version counts everybody's"
    for shard in shards:
        shard.stop()


def test_with_prior_scope_the_trainer_starts_later_groups_from_earlier_ones(
    start_trainer: Callable[[str], ActorHandle],
) -> None:
    trainer = start_trainer("prior")
    shard = ActorLearner(make_bank("prior"), trainer, shard="a")
    alone = make_bank("prior")
    for group, steps in enumerate(([0, 1, 2], [3])):
        shard.open(group, f"group {group}")
        alone.reset(group)
        for step in steps:
            rows = make_rows(step, (group, group))
            shard.learn(rows)
            alone.train(rows)
            wait_until(
                lambda slot=group: (shard.refresh(), torch.equal(shard.bank.theta_SP[slot], alone.theta_SP[slot]))[1]
            )
    shard.stop()
