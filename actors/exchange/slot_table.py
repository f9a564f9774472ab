"""A shard's book of open slots: the group each serves, the version of its weights, and what has arrived for it.

Shared by two threads. The lock is held for one slot's copy at most, so that the decode thread never waits longer than that.
"""

import math
import threading
from dataclasses import dataclass

import torch

from actors.exchange.trainer_client import TrainerClient
from actors.types import GroupWeights, RegisterGroup, Reply, RestoreGroup, UnregisterGroup
from esamp.distiller.bank import DistillerBank


@dataclass(slots=True, eq=False)
class SlotState:
    """An open slot."""

    group: str
    """Name at the trainer."""
    link: TrainerClient
    version: GroupWeights
    registration: int
    first_message: int
    """The letter that opens the group at its trainer: replies to earlier ones are about a former life of its name."""
    steps: int = 0
    """Decode steps with rows of the group."""
    is_known: bool = False
    """A trainer has said that it has the group open."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrivedWeights:
    """A published version, on the host: `weights` [P]."""

    version: GroupWeights
    weights: torch.Tensor


def untrained(group: str) -> GroupWeights:
    """The version of a slot that was opened just now."""
    return GroupWeights(
        group=group,
        incarnation="initial",
        registration=0,
        step=0,
        rows=0,
        learned=0,
        loss=math.nan,
        relative_error=math.nan,
    )


class SlotTable:
    """Open slots of one bank. Newer weights replace older ones, never the other way round."""

    def __init__(self, bank: DistillerBank) -> None:
        self.versions_received = 0
        self.restored_groups = 0
        self.restarted_groups = 0
        self._bank = bank
        self._lock = threading.Lock()
        self._slots: dict[int, SlotState] = {}
        self._slot_of_group: dict[str, int] = {}
        self._last_opening = 0
        self._arrived: dict[str, ArrivedWeights] = {}

    def __getitem__(self, slot: int) -> SlotState:
        return self._slots[slot]

    def open(self, slot: int, group: str, link: TrainerClient) -> None:
        """`slot` starts as new and serves `group` of that trainer, which is told."""
        with self._lock:
            self._bank.reset(slot)
            self._last_opening += 1
            message = link.send_queue.put_register(RegisterGroup(group=group, registration=self._last_opening))
            self._slots[slot] = SlotState(group, link, untrained(group), self._last_opening, message)
            self._slot_of_group[group] = slot

    def close(self, slot: int) -> None:
        """`slot` serves nobody any more, which its trainer is told."""
        with self._lock:
            state = self._slots.pop(slot)
            del self._slot_of_group[state.group]
            self._arrived.pop(state.group, None)
        state.link.send_queue.put_unregister(UnregisterGroup(group=state.group))

    def has_arrived(self) -> bool:
        """True if `flip` has anything to do."""
        return bool(self._arrived)

    def swap_in(self) -> None:
        """Put weights that have arrived into the bank."""
        with self._lock:
            arrived, self._arrived = self._arrived, {}
        for weights in arrived.values():
            with self._lock:
                self._swap_in_one(weights)

    def keep(self, arrived: ArrivedWeights, *, message: int) -> None:
        """Keep weights of the reply to `letter` for the next flip, unless newer ones wait for it."""
        name = arrived.version.group
        with self._lock:
            state, kept = self._state_of(name), self._arrived.get(name)
            if state is None or message < state.first_message:
                return
            if kept is None or kept.version.order < arrived.version.order:
                self._arrived[name] = arrived

    def note(self, reply: Reply) -> None:
        """Count the groups that a trainer opened, and opened again."""
        with self._lock:
            self.restored_groups += len(reply.restored_groups)
            for name in [*reply.new_groups, *reply.joined_groups, *reply.restored_groups]:
                state = self._state_of(name)
                if state is not None:
                    self.restarted_groups += state.is_known and name in reply.new_groups
                    state.is_known = True

    def register_again(self, groups: list[str]) -> list[RegisterGroup]:
        """Openings of those of `groups` that still live, for a trainer that does not know them (any more), with the weights that are
        here."""
        registers = []
        for name in groups:
            with self._lock:
                state = self._state_of(name)
                if state is None:
                    continue
                self._last_opening = state.registration = self._last_opening + 1
                offer = None
                if state.version.step > 0:
                    weights_P = self._bank.theta_SP[self._slot_of_group[name]]
                    offer = RestoreGroup(version=state.version, weights=weights_P.cpu().numpy().copy())
                registers.append(RegisterGroup(group=name, registration=state.registration, offer=offer))
        return registers

    def _swap_in_one(self, arrived: ArrivedWeights) -> None:
        version, state = arrived.version, self._state_of(arrived.version.group)
        if state is None:
            return  # its group has ended while the weights were on their way
        if version.registration < state.registration or version.order <= state.version.order:
            return  # of a former life of the group or the trainer, out of order, or a duplicate
        self._bank.load(
            self._slot_of_group[version.group],
            arrived.weights,
            steps=version.step,
            loss=version.loss,
            relative_error=version.relative_error,
        )
        state.version = version
        self._last_opening = max(self._last_opening, version.registration)
        self.versions_received += 1

    def _state_of(self, group: str) -> SlotState | None:
        slot = self._slot_of_group.get(group)
        return None if slot is None else self._slots[slot]
