"""Visits of a group's cells: how far each cell's low-discrepancy sequence has been used.

For exact marginals a sample must never draw two numbers from one sequence: neighbours of a golden-ratio sequence are dependent (for a fair
coin P(equal) is .236 in place of .5). So the key of a sequence holds, beside the cell, how often the sample itself has been there.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from esamp.joint.codes import GOLDEN, stable_hash, unit_float

GROUPS_KEPT = 256
"""Groups without a live request whose visits are remembered for siblings that come later."""


@dataclass(slots=True)
class GroupVisits:
    """Visits in one group."""

    by_key: dict[tuple[int, int], int] = field(default_factory=dict)
    """(cell, the sample's own earlier visits to it) -> numbers drawn from that sequence."""
    own: dict[str, dict[int, int]] = field(default_factory=dict)
    """Live request -> cell -> its visits."""


class VisitCounts:
    """Gives each visit its number u. Rows of one step count in the order of the batch."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._groups: OrderedDict[str, GroupVisits] = OrderedDict()

    def add(self, group: str, request_id: str) -> None:
        """A request of the group starts."""
        visits = self._groups.setdefault(group, GroupVisits())
        visits.own[request_id] = {}
        self._groups.move_to_end(group)
        idle = [name for name, kept in self._groups.items() if not kept.own]
        for name in idle[: max(0, len(idle) - GROUPS_KEPT)]:
            del self._groups[name]

    def remove(self, group: str, request_id: str) -> None:
        """It has ended. What it used up stays used up: siblings that come later draw elsewhere."""
        self._groups[group].own.pop(request_id, None)

    def uniform(self, group: str, request_id: str, cell: int) -> float:
        """The number in [0, 1) that the request draws with at this visit."""
        visits = self._groups[group]
        own = visits.own[request_id]
        key = (cell, own.get(cell, 0))
        used = visits.by_key.get(key, 0)
        own[cell] = key[1] + 1
        visits.by_key[key] = used + 1
        return unit_float(stable_hash("cell", self._seed, group, *key) + used * GOLDEN)
