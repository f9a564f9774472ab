"""A shard's book of open slots: the group each serves, the version of its weights, and what has arrived for it.

Shared by two threads. The lock is held for one slot's copy at most, so that the decode thread never waits longer than that.
"""

import math
import threading
from dataclasses import dataclass

import torch

from actors.exchange.trainer_client import TrainerLink
from actors.types import Ending, GroupWeights, Offer, Opening, Reply
from esamp.distiller.bank import DistillerBank


@dataclass(slots=True, eq=False)
class SlotState:
    """An open slot."""

    group: str
    """Name at the trainer."""
    link: TrainerLink
    version: GroupWeights
    opening: int
    first_letter: int
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
        opening=0,
        step=0,
        rows=0,
        learned=0,
        loss=math.nan,
        relative_error=math.nan,
    )


class SlotBook:
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

    def open(self, slot: int, group: str, link: TrainerLink) -> None:
        """`slot` starts as new and serves `group` of that trainer, which is told."""
        with self._lock:
            self._bank.reset(slot)
            self._last_opening += 1
            letter = link.outbox.put_opening(Opening(group=group, opening=self._last_opening))
            self._slots[slot] = SlotState(group, link, untrained(group), self._last_opening, letter)
            self._slot_of_group[group] = slot

    def close(self, slot: int) -> None:
        """`slot` serves nobody any more, which its trainer is told."""
        with self._lock:
            state = self._slots.pop(slot)
            del self._slot_of_group[state.group]
            self._arrived.pop(state.group, None)
        state.link.outbox.put_ending(Ending(group=state.group))

    def has_arrived(self) -> bool:
        """True if `flip` has anything to do."""
        return bool(self._arrived)

    def flip(self) -> None:
        """Put weights that have arrived into the bank."""
        with self._lock:
            arrived, self._arrived = self._arrived, {}
        for weights in arrived.values():
            with self._lock:
                self._flip_one(weights)

    def keep(self, arrived: ArrivedWeights, *, letter: int) -> None:
        """Keep weights of the reply to `letter` for the next flip, unless newer ones wait for it."""
        name = arrived.version.group
        with self._lock:
            state, kept = self._state_of(name), self._arrived.get(name)
            if state is None or letter < state.first_letter:
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

    def open_again(self, groups: list[str]) -> list[Opening]:
        """Openings of those of `groups` that still live, for a trainer that does not know them (any more), with the weights that are
        here."""
        openings = []
        for name in groups:
            with self._lock:
                state = self._state_of(name)
                if state is None:
                    continue
                self._last_opening = state.opening = self._last_opening + 1
                offer = None
                if state.version.step > 0:
                    weights_P = self._bank.theta_SP[self._slot_of_group[name]]
                    offer = Offer(version=state.version, weights=weights_P.cpu().numpy().copy())
                openings.append(Opening(group=name, opening=state.opening, offer=offer))
        return openings

    def _flip_one(self, arrived: ArrivedWeights) -> None:
        version, state = arrived.version, self._state_of(arrived.version.group)
        if state is None:
            return  # its group has ended while the weights were on their way
        if version.opening < state.opening or version.order <= state.version.order:
            return  # of a former life of the group or the trainer, out of order, or a duplicate
        self._bank.load(
            self._slot_of_group[version.group],
            arrived.weights,
            steps=version.step,
            loss=version.loss,
            relative_error=version.relative_error,
        )
        state.version = version
        self._last_opening = max(self._last_opening, version.opening)
        self.versions_received += 1

    def _state_of(self, group: str) -> SlotState | None:
        slot = self._slot_of_group.get(group)
        return None if slot is None else self._slots[slot]
