"""The trainer's table of registered groups: the slot of each, the shards that registered it, and what each of those was sent.

A group exists while a shard has it registered. A shard that is lost cannot unregister its groups: they are removed as soon as it sends a
message as another incarnation, or has been silent for SILENCE_S, so that no slot is taken for ever.
"""

from dataclasses import dataclass, field

from actors.exchange.messages import RegisterGroup

SILENCE_S = 120.0
"""Six times HEARTBEAT_S (actors/exchange/trainer_client.py), after which every shard sends a message whatever else it does."""


@dataclass(slots=True)
class Holder:
    """What a trainer knows of one shard that has a group registered."""

    registration: int
    learned: int = 0
    """The shard's newest decode step that the group has learned from."""
    sent_step: int = 0
    """The group's optimiser step that the shard has the weights of."""


@dataclass(slots=True)
class OpenGroup:
    """A group with a slot."""

    name: str
    slot: int
    registration: int = 0
    step: int = 0
    rows: int = 0
    holders: dict[str, Holder] = field(default_factory=dict)
    """By shard."""


def span_with(slot: int, others: list[int]) -> int:
    """Length of the range that holds `slot` and the others."""
    return max(slot, *others) - min(slot, *others)


class GroupTable:
    """Registered groups, their slots, and the shards that hold them."""

    def __init__(self, num_slots: int) -> None:
        self._groups: dict[str, OpenGroup] = {}
        self._free = list(range(num_slots))
        self._owners: dict[int, str] = {}
        """Slot -> the shard that opened its latest group."""
        self._held: dict[str, set[str]] = {}
        """Shard -> names of the groups it holds; only shards that hold any."""
        self._last_heartbeat: dict[str, float] = {}
        self.abandoned_groups = 0

    def __len__(self) -> int:
        return len(self._groups)

    def __contains__(self, name: str) -> bool:
        return name in self._groups

    def heartbeat(self, shard: str, now: float) -> None:
        """`shard` sent a message. Removes what its former incarnations hold, and what silent shards hold."""
        name = shard.rpartition("/")[0]
        for other, seen_at in list(self._last_heartbeat.items()):
            is_former_incarnation = other != shard and other.rpartition("/")[0] == name
            if is_former_incarnation or now - seen_at > SILENCE_S:
                self._abandon(other)
        self._last_heartbeat[shard] = now

    def join(self, shard: str, registration: RegisterGroup) -> OpenGroup | None:
        """`shard` registers a group, which gets a slot if it is new; None if every slot is taken."""
        group = self._groups.get(registration.group)
        if group is None:
            if not self._free:
                return None
            slot = self._free_slot(shard)
            self._free.remove(slot)
            self._owners[slot] = shard
            group = self._groups[registration.group] = OpenGroup(registration.group, slot)
        group.registration = max(group.registration, registration.registration)
        holder = group.holders.get(shard)
        if holder is None or holder.registration < registration.registration:
            group.holders[shard] = Holder(registration.registration)
        self._held.setdefault(shard, set()).add(group.name)
        return group

    def held(self, name: str, shard: str) -> OpenGroup | None:
        """The group of that name, if `shard` has it registered."""
        group = self._groups.get(name)
        return group if group is not None and shard in group.holders else None

    def held_by(self, shard: str) -> list[OpenGroup]:
        """All groups that `shard` has registered, in the order of their slots."""
        return sorted((self._groups[name] for name in self._held.get(shard, ())), key=lambda group: group.slot)

    def leave(self, shard: str, name: str) -> bool:
        """`shard` unregisters a group, which is removed if no other shard holds it: True then. Nothing happens to a group that it does not
        hold."""
        group = self.held(name, shard)
        if group is None:
            return False
        del group.holders[shard]
        self._held[shard].remove(name)
        if not self._held[shard]:
            del self._held[shard]
        if group.holders:
            return False
        del self._groups[name]
        self._free.append(group.slot)
        return True

    def _free_slot(self, shard: str) -> int:
        """The free slot that keeps the shard's slots closest together: an optimiser step trains the whole range of the bank between them.

        A shard begins in the middle of the longest free range and prefers slots that it had before to those that others had.
        """
        held = [group.slot for group in self.held_by(shard)] or [s for s in self._free if self._owners.get(s) == shard]
        if held:
            return min(self._free, key=lambda slot: (self._is_anothers(slot, shard), span_with(slot, held), -slot))
        free = {slot for slot in self._free if slot not in self._owners} or set(self._free)
        starts = sorted(slot for slot in free if slot - 1 not in free)
        ends = sorted(slot for slot in free if slot + 1 not in free)
        start, end = max(zip(starts, ends, strict=True), key=lambda run: run[1] - run[0])
        return (start + end) // 2

    def _is_anothers(self, slot: int, shard: str) -> bool:
        return self._owners.get(slot, shard) != shard

    def _abandon(self, shard: str) -> None:
        for name in list(self._held.get(shard, ())):
            self.abandoned_groups += self.leave(shard, name)
        self._owners = {slot: owner for slot, owner in self._owners.items() if owner != shard}
        del self._last_heartbeat[shard]
