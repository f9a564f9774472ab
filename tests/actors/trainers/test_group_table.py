"""Which slot of a trainer's bank a group gets."""

import random

from actors.exchange.messages import RegisterGroup
from actors.trainers.group_table import GroupTable


def test_a_shards_groups_stay_together_however_they_come_and_go() -> None:
    """A step trains the whole range between a shard's slots. Given the lowest free slot, four groups of 64 shards spread over 150 slots."""
    shards, groups, chance = [f"s{index}/1" for index in range(64)], 4, random.Random(0)
    table = GroupTable(num_slots=2 * groups * len(shards))
    for shard in shards:
        for index in range(groups):
            table.join(shard, RegisterGroup(group=f"{shard}/{index}", registration=1))
    for number in range(3000):
        ending = chance.sample(shards, 8)
        for shard in ending:
            table.leave(shard, chance.choice(table.held_by(shard)).name)
        for shard in chance.sample(ending, len(ending)):
            table.join(shard, RegisterGroup(group=f"{shard}/n{number}", registration=number))
    spans = [held[-1].slot - held[0].slot + 1 for held in map(table.held_by, shards)]
    assert all(len(table.held_by(shard)) == groups for shard in shards)
    assert sum(spans) / len(spans) < 1.25 * groups
