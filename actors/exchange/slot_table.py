"""A shard's table of open slots: the group of each, the version of its weights, and weights that have arrived for it.

Shared by the decode thread and the exchange thread. The lock is held for the copy of one slot at most, so that the decode thread never
waits longer than that.
"""

import math
import threading
from dataclasses import dataclass

from torch import Tensor

from actors.exchange.messages import GroupWeights, RegisterGroup, Reply, RestoreGroup, UnregisterGroup
from actors.exchange.trainer_client import TrainerClient
from actors.exchange.transport import Transport
from esamp.distiller.bank import DistillerBank


@dataclass(slots=True, eq=False)
class SlotState:
    """An open slot."""

    group: str
    """Name at the trainer."""
    client: TrainerClient
    version: GroupWeights
    registration: int
    first_message: int
    """The message that registers the group: replies to earlier ones are about a group that had the same name before."""
    steps: int = 0
    """Decode steps with rows of the group."""
    is_known: bool = False
    """A trainer has confirmed the registration."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrivedWeights:
    """A version that a trainer published."""

    version: GroupWeights
    weights_P: Tensor
    """[P] fp32, on the host."""


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

    def __init__(self, bank: DistillerBank, transport: Transport) -> None:
        self.versions_received = 0
        self.restored_groups = 0
        self.restarted_groups = 0
        self._bank = bank
        self._transport = transport
        self._lock = threading.Lock()
        self._slots: dict[int, SlotState] = {}
        self._slot_of_group: dict[str, int] = {}
        self._last_registration = 0
        self._arrived: dict[str, ArrivedWeights] = {}

    def __getitem__(self, slot: int) -> SlotState:
        return self._slots[slot]

    def open(self, slot: int, group: str, client: TrainerClient) -> None:
        """`slot` starts from initial weights and serves `group`, which is registered at its trainer."""
        # Queued under the lock: a reply to an earlier message of a group of this name must not find the slot without its `first_message`.
        with self._lock:
            self._bank.reset(slot)
            self._last_registration += 1
            message = client.send_queue.put_register(RegisterGroup(group=group, registration=self._last_registration))
            self._slots[slot] = SlotState(group, client, untrained(group), self._last_registration, message)
            self._slot_of_group[group] = slot

    def close(self, slot: int) -> None:
        """`slot` serves no group any more; its group is unregistered at the trainer."""
        with self._lock:
            state = self._slots.pop(slot)
            del self._slot_of_group[state.group]
            self._arrived.pop(state.group, None)
        state.client.send_queue.put_unregister(UnregisterGroup(group=state.group))

    def has_arrived(self) -> bool:
        """True if `swap_in` has anything to do."""
        return bool(self._arrived)

    def swap_in(self) -> None:
        """Copy weights that have arrived into the bank."""
        with self._lock:
            arrived, self._arrived = self._arrived, {}
        # One slot at a time, so that the exchange thread is not kept from the lock for the copy of all of them.
        for weights in arrived.values():
            with self._lock:
                self._swap_in_one(weights)

    def keep(self, arrived: ArrivedWeights, *, message: int) -> None:
        """Keep weights of the reply to that message for the next `swap_in`, unless newer ones wait for it."""
        name = arrived.version.group
        with self._lock:
            state, kept = self._state_of(name), self._arrived.get(name)
            if state is None or message < state.first_message:
                return
            if kept is None or kept.version.order < arrived.version.order:
                self._arrived[name] = arrived

    def note(self, reply: Reply) -> None:
        """Count the groups that a trainer registered, and registered again."""
        with self._lock:
            self.restored_groups += len(reply.restored_groups)
            for name in [*reply.new_groups, *reply.joined_groups, *reply.restored_groups]:
                state = self._state_of(name)
                if state is not None:
                    self.restarted_groups += state.is_known and name in reply.new_groups
                    state.is_known = True

    def register_again(self, groups: list[str]) -> list[RegisterGroup]:
        """Registrations, with the weights that are here, of those of `groups` that are still open: for a trainer that does not know
        them."""
        registrations = []
        for name in groups:
            with self._lock:
                state = self._state_of(name)
                if state is None:
                    continue
                self._last_registration = state.registration = self._last_registration + 1
                restore = None
                if state.version.step > 0:
                    weights_P = self._bank.theta_SP[self._slot_of_group[name]]
                    restore = RestoreGroup(version=state.version, weights=self._transport.pack(weights_P))
                registrations.append(RegisterGroup(group=name, registration=state.registration, restore=restore))
        return registrations

    def _swap_in_one(self, arrived: ArrivedWeights) -> None:
        version, state = arrived.version, self._state_of(arrived.version.group)
        if state is None:
            return  # its group has ended while the weights were on their way
        if version.registration < state.registration or version.order <= state.version.order:
            return  # of an earlier registration, out of order, or a duplicate
        self._bank.load(
            self._slot_of_group[version.group],
            arrived.weights_P,
            steps=version.step,
            loss=version.loss,
            relative_error=version.relative_error,
        )
        state.version = version
        self._last_registration = max(self._last_registration, version.registration)
        self.versions_received += 1

    def _state_of(self, group: str) -> SlotState | None:
        slot = self._slot_of_group.get(group)
        return None if slot is None else self._slots[slot]
