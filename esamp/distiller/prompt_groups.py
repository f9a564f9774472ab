"""Which request explores, and in which Distiller slot: one engine's table, on the host.

A slot belongs to a prompt group from the first decode row of the group until its last request ends. Groups are told apart by name,
never by position, and a name that returns after its slot was freed is a new group. More live groups than slots: the later ones
stay vanilla for as long as they live, and are counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ExploringRequest:
    """A request that Exploratory Sampling applies to."""

    request_id: str
    """vLLM's own id."""
    group: str
    """Requests with the same name share a Distiller."""
    beta: float
    """Exploration strength, > 0."""
    is_unfiltered: bool = True
    """As in esamp.batch.NewRequest."""
    top_k: int = 0
    """0 or -1: all tokens."""


@dataclass(slots=True)
class PromptGroup:
    """A live prompt group."""

    name: str
    requests: set[str] = field(default_factory=set)
    slot: int | None = None
    steps_seen: int = 0
    """Decode steps in which the group had at least one row."""
    stays_vanilla: bool = False


class GroupTable:
    """Live exploring requests, their groups and the groups' slots."""

    def __init__(
        self, num_slots: int, open_slot: Callable[[int, str], None], close_slot: Callable[[int], None]
    ) -> None:
        """`open_slot(slot, name)` must reset the slot; `close_slot(slot)` is called once nobody uses it any more."""
        self._open_slot, self._close_slot = open_slot, close_slot
        self._free = list(range(num_slots))
        self._groups: dict[str, PromptGroup] = {}
        self._requests: dict[str, ExploringRequest] = {}
        self.vanilla_groups = 0
        """Groups that found every slot taken."""

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, request: ExploringRequest) -> None:
        """Follow `request`; adding it again (a preempted request that returns) changes nothing."""
        self._requests[request.request_id] = request
        self._groups.setdefault(request.group, PromptGroup(request.group)).requests.add(request.request_id)

    def remove(self, request_id: str) -> None:
        """Forget a request that ended or was aborted; the last of a group frees its slot. Unknown ids are ignored."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return
        group = self._groups[request.group]
        group.requests.discard(request_id)
        if not group.requests:
            del self._groups[group.name]
            if group.slot is not None:
                self._close_slot(group.slot)
                self._free.append(group.slot)
                # Lowest first: slots in use stay close together, and training touches one short range of the bank.
                self._free.sort()

    def request(self, request_id: str) -> ExploringRequest | None:
        """The exploring request of that id, or None for one that is not exploring."""
        return self._requests.get(request_id)

    def group_at_decode(self, request: ExploringRequest) -> PromptGroup | None:
        """The group of a decode row, with a slot; None if it stays vanilla for want of one."""
        group = self._groups[request.group]
        if group.slot is None and not group.stays_vanilla:
            if self._free:
                group.slot = self._free.pop(0)
                self._open_slot(group.slot, group.name)
            else:
                group.stays_vanilla = True
                self.vanilla_groups += 1
        return None if group.stays_vanilla else group
