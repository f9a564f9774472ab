"""Which request explores, and in which Distiller slot: one engine's table, on the host.

A slot belongs to a prompt group from the first row that explores or teaches until its last expected request has ended. Without that the
Distiller would be reset between siblings that do not fit into one batch, and the later ones would never meet what the earlier ones
taught it. A group none of whose requests runs is idle: it keeps its slot until its next request comes, the caller says that none will, or
another group needs the slot, so that slots never leak where expected requests do not come.

Groups are told apart by name, never by position, and a name that returns after its slot was freed is a new group. More live groups
than slots: the later ones stay vanilla for as long as they live, and are counted.
"""

from collections import OrderedDict
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
    group_size: int = 1
    """Requests of its group that are expected in all, this one included. A group waits for the largest number that it was told."""


@dataclass(slots=True)
class PromptGroup:
    """A prompt group with requests that run, or that are expected."""

    name: str
    requests: set[str] = field(default_factory=set)
    """Those that run."""
    ended: int = 0
    """Requests that have ended."""
    size: int = 1
    """Requests expected in all."""
    slot: int | None = None
    steps_seen: int = 0
    """Decode steps in which the group had at least one row."""
    stays_vanilla: bool = False
    prompt_tokens_learned: int = 0
    """Length of the part of the prompt whose tokens the Distiller has learned from, or that nobody computed."""


class GroupTable:
    """Live exploring requests, their groups and the groups' slots."""

    def __init__(
        self, num_slots: int, open_slot: Callable[[int, str], None], close_slot: Callable[[int], None]
    ) -> None:
        """`open_slot(slot, name)` must reset the slot; `close_slot(slot)` is called once nobody uses it any more."""
        self._open_slot, self._close_slot = open_slot, close_slot
        self._free = list(range(num_slots))
        self._groups: dict[str, PromptGroup] = {}
        self._idle: OrderedDict[str, PromptGroup] = OrderedDict()
        """Groups with a slot that wait for their next request, the one that has waited longest first."""
        self._requests: dict[str, ExploringRequest] = {}
        self.vanilla_groups = 0
        """Groups that found every slot taken."""

    def __len__(self) -> int:
        """Groups with requests that run."""
        return len(self._groups) - len(self._idle)

    def add(self, request: ExploringRequest) -> None:
        """Follow `request`; adding it again (a preempted request that returns) changes nothing."""
        self._requests[request.request_id] = request
        group = self._groups.setdefault(request.group, PromptGroup(request.group))
        group.requests.add(request.request_id)
        group.size = max(group.size, request.group_size)
        self._idle.pop(request.group, None)

    def remove(self, request_id: str) -> None:
        """Forget a request that ended or was aborted; the last one that the group expects frees its slot. Unknown ids are ignored."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return
        group = self._groups[request.group]
        group.requests.discard(request_id)
        group.ended += 1
        if group.requests:
            return
        if group.slot is not None and group.ended < group.size:
            self._idle[group.name] = group
        else:
            self._release(group)

    def expect_no_more(self, name: str | None = None) -> None:
        """The group, or every group if `name` is None, ends with the requests that run now: others of its name do not come, or shall not
        meet its Distiller. An unknown name is ignored."""
        for group in list(self._groups.values()) if name is None else filter(None, [self._groups.get(name)]):
            group.size = 0
            if not group.requests:
                self._release(group)

    def restart(self, name: str) -> None:
        """Reset the slot of a group that goes on; nothing happens to one without a slot."""
        group = self._groups[name]
        if group.slot is not None:
            self._close_slot(group.slot)
            self._open_slot(group.slot, name)
            group.steps_seen = 0

    def _release(self, group: PromptGroup) -> None:
        del self._groups[group.name]
        self._idle.pop(group.name, None)
        if group.slot is not None:
            self._close_slot(group.slot)
            self._free.append(group.slot)
            # Lowest first: slots in use stay close together, and training touches one short range of the bank.
            self._free.sort()

    def request(self, request_id: str) -> ExploringRequest | None:
        """The exploring request of that id, or None for one that is not exploring."""
        return self._requests.get(request_id)

    def group_with_slot(self, request: ExploringRequest) -> PromptGroup | None:
        """The group of a row that explores or teaches, with a slot; None if it stays vanilla for want of one."""
        group = self._groups[request.group]
        if group.slot is None and not group.stays_vanilla:
            if not self._free and self._idle:
                self._release(next(iter(self._idle.values())))
            if self._free:
                group.slot = self._free.pop(0)
                self._open_slot(group.slot, group.name)
            else:
                group.stays_vanilla = True
                self.vanilla_groups += 1
        return None if group.stays_vanilla else group
