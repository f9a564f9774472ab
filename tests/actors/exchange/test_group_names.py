"""Who shares a Distiller, and which trainer has it."""

import subprocess
import sys
from collections import Counter

from actors.exchange.group_names import ClusterGroup, PrivateGroups, SharedGroups, group_names, trainer_of
from actors.exchange.rate_limit import RateLimit
from actors.trainers.pool import slots_per_trainer


def test_private_names_are_never_used_twice() -> None:
    shards = [PrivateGroups("s0/ab"), PrivateGroups("s1/cd"), PrivateGroups("s0/ef")]
    names = [shard.name("p17") for shard in shards for _ in range(5)]
    assert len(set(names)) == 15


def test_shared_names_are_the_same_on_every_shard() -> None:
    assert SharedGroups().name("p17") == SharedGroups().name("p17") != SharedGroups().name("p18")
    assert ClusterGroup().name("p17") == ClusterGroup().name("p18")


def test_the_scope_and_spreading_decide_who_shares() -> None:
    shards = ("s0/ab", "s1/cd")
    for scope, spread, is_shared in (
        ("prompt", False, False),
        ("prompt", True, True),
        ("prior", True, True),
        ("shard", True, False),
        ("cluster", False, True),
    ):
        names = {group_names(shard, scope=scope, spread=spread).name("p17") for shard in shards}  # type: ignore[arg-type]
        assert (len(names) == 1) == is_shared


def test_a_group_belongs_to_the_same_trainer_in_every_process() -> None:
    program = (
        "from actors.exchange.group_names import trainer_of; print([trainer_of(f'shared/p{i}', 5) for i in range(50)])"
    )
    there = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert there.strip() == str([trainer_of(f"shared/p{i}", 5) for i in range(50)])


def test_groups_are_spread_evenly_and_every_trainer_has_the_slots_for_its_part() -> None:
    for num_groups, num_trainers in ((8, 2), (64, 4), (256, 8), (1000, 3)):
        most = max(
            max(Counter(trainer_of(f"run {run}/p{i}", num_trainers) for i in range(num_groups)).values())
            for run in range(100)
        )
        assert most <= slots_per_trainer(num_groups, num_trainers) <= num_groups
    assert slots_per_trainer(1000, 4) < 1000 / 2


def test_a_rate_limit_keeps_to_its_share() -> None:
    limit, now, worked = RateLimit(0.1), 100.0, 0.0
    while now < 200:
        if limit.is_due(now):
            now, worked = now + 0.02, worked + 0.02
            limit.spend(now, 0.02)
        now += 0.001
    assert 0.08 * 100 < worked < 0.1 * 100 + 0.1
