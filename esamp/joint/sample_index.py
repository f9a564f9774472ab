"""Which sibling a request is: the index that its code, or its stream of random numbers, follows from."""

from collections import OrderedDict
from dataclasses import dataclass, field

from esamp.batch import NewRequest
from esamp.request_args import SAMPLE_KEY, group_of

GROUPS_KEPT = 65_536
"""Groups without a live request whose next index is remembered; a group that returns after so many others starts again at 0."""


@dataclass(slots=True)
class GroupIndices:
    """Indices of one group."""

    live: set[int] = field(default_factory=set)
    next: int = 0
    """The first that no request has had."""


@dataclass(frozen=True, slots=True)
class Sibling:
    """A request's place in its group."""

    group: str
    index: int


class SampleIndices:
    """Gives each request its index. vLLM's n > 1 makes children with the same extra_args: the first keeps the index that it asks for, the
    others take the next free ones, in the order of their arrival."""

    def __init__(self) -> None:
        self._groups: OrderedDict[str, GroupIndices] = OrderedDict()
        self._siblings: dict[str, Sibling] = {}

    def add(self, request: NewRequest) -> Sibling:
        """The request's place. Raises ValueError if the index that it asks for is none."""
        group = group_of(request)
        indices = self._groups.setdefault(group, GroupIndices())
        self._groups.move_to_end(group)
        index = request.extra_args.get(SAMPLE_KEY, indices.next)
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise ValueError(f"{SAMPLE_KEY} must be an int >= 0; got {index!r}")
        while index in indices.live:
            index += 1
        indices.live.add(index)
        indices.next = max(indices.next, index + 1)
        sibling = self._siblings[request.request_id] = Sibling(group, index)
        self._forget_old_groups()
        return sibling

    def remove(self, request_id: str) -> None:
        """The request has ended; ids that were never added are passed over."""
        sibling = self._siblings.pop(request_id, None)
        if sibling is not None:
            self._groups[sibling.group].live.discard(sibling.index)

    def _forget_old_groups(self) -> None:
        while len(self._groups) > GROUPS_KEPT:
            oldest = next((name for name, indices in self._groups.items() if not indices.live), None)
            if oldest is None:
                return
            del self._groups[oldest]
