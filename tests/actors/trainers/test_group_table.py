"""Which slot of a trainer's bank a group gets."""

import random

from actors.trainers.group_table import GroupBook
from actors.types import Opening


def test_a_shards_groups_stay_together_however_they_come_and_go() -> None:
    """A step trains the whole range between a shard's slots. Given the lowest free slot, four groups of 64 shards spread over 150 slots."""
    shards, groups, chance = [f"s{index}/1" for index in range(64)], 4, random.Random(0)
    book = GroupBook(num_slots=2 * groups * len(shards))
    for shard in shards:
        for index in range(groups):
            book.join(shard, Opening(group=f"{shard}/{index}", opening=1))
    for number in range(3000):
        ending = chance.sample(shards, 8)
        for shard in ending:
            book.leave(shard, chance.choice(book.held_by(shard)).name)
        for shard in chance.sample(ending, len(ending)):
            book.join(shard, Opening(group=f"{shard}/n{number}", opening=number))
    spans = [held[-1].slot - held[0].slot + 1 for held in map(book.held_by, shards)]
    assert all(len(book.held_by(shard)) == groups for shard in shards)
    assert sum(spans) / len(spans) < 1.25 * groups
