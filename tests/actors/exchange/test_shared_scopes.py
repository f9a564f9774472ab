"""Scopes that share what was learned: one Distiller for the cluster, one prior for all groups of a trainer."""

from collections.abc import Callable, Iterator

import pytest
import ray
import torch
from ray.actor import ActorHandle

from actors.exchange.remote_learner import ActorLearner
from esamp.config import ESampConfig
from tests.actors.exchange.exchanges import make_bank, make_rows, start_trainer, wait_until

pytestmark = pytest.mark.ray


def config_of(scope: str) -> ESampConfig:
    return ESampConfig.from_dict({"inner_width": 8, "trainer": "actor", "scope": scope, "learning_rate": 1e-2})


@pytest.fixture
def trainer_for(local_ray: None) -> Iterator[Callable[[str], ActorHandle]]:
    started: list[ActorHandle] = []

    def start(scope: str) -> ActorHandle:
        started.append(start_trainer(config_of(scope), max_groups=4))
        return started[-1]

    yield start
    for trainer in started:
        ray.kill(trainer)


def test_with_cluster_scope_every_shard_samples_with_what_all_of_them_trained(
    trainer_for: Callable[[str], ActorHandle],
) -> None:
    trainer = trainer_for("cluster")
    shards = [ActorLearner(make_bank(config_of("cluster")), [trainer], shard=name) for name in ("a", "b")]
    local = make_bank(config_of("cluster"))
    for shard in shards:
        shard.open(0, "shared")
    for step in range(6):
        rows, shard = make_rows(step, (0, 0)), shards[step % 2]
        shard.learn(rows)
        local.train(rows)
        # A shard asks for weights after rows of its own, and then gets what the others taught as well.
        wait_until(lambda it=shard: (it.refresh(), torch.equal(it.bank.theta_SP[0], local.theta_SP[0]))[1])
    assert ray.get(trainer.stats.remote()).groups == 1
    assert [shard.version(0).learned for shard in shards] == [3, 3], "lag counts the shard's own steps"
    assert str(shards[1].version(0)).split(":")[1:] == ["6", "12"], "the version counts the steps of all shards"
    for shard in shards:
        shard.stop()


def test_with_prior_scope_the_trainer_starts_later_groups_from_earlier_ones(
    trainer_for: Callable[[str], ActorHandle],
) -> None:
    trainer = trainer_for("prior")
    shard = ActorLearner(make_bank(config_of("prior")), [trainer], shard="a")
    local = make_bank(config_of("prior"))
    for group, steps in enumerate(([0, 1, 2], [3])):
        shard.open(group, f"group {group}")
        local.reset(group)
        for step in steps:
            rows = make_rows(step, (group, group))
            shard.learn(rows)
            local.train(rows)
            wait_until(
                lambda slot=group: (shard.refresh(), torch.equal(shard.bank.theta_SP[slot], local.theta_SP[slot]))[1]
            )
    shard.stop()
