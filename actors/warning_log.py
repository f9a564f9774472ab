"""Warnings of actors, for the terminal of the driver: Ray keeps an actor's own log in a file on the actor's node.

The counters of an actor (`stats`, `counts`) carry its warnings to the driver, which polls those anyway. There is one entry for each kind of
warning, so that a warning that repeats for hours takes no more room than one.
"""

import logging

from actors.types import ActorWarning, ShardStats, TrainerStats, WarningKind

logger = logging.getLogger(__name__)


class WarningLog:
    """Latest message and number of occurrences of each kind of warning. For one thread."""

    def __init__(self, source: str) -> None:
        """`source`: the actor, as the user shall read it, such as "shard-0"."""
        self._source = source
        self._entries: dict[WarningKind, tuple[str, int]] = {}

    def record(self, kind: WarningKind, message: str) -> None:
        """It happened once more."""
        logger.warning("%s: %s", self._source, message)
        _, count = self._entries.get(kind, ("", 0))
        self._entries[kind] = (message, count + 1)

    def warnings(self) -> tuple[ActorWarning, ...]:
        """An entry for each kind, in the order of their first occurrence."""
        return tuple(
            ActorWarning(source=self._source, kind=kind, message=message, count=count)
            for kind, (message, count) in self._entries.items()
        )


def warnings_of(stats: ShardStats | TrainerStats) -> tuple[ActorWarning, ...]:
    """What the counters of a shard or a trainer warn of."""
    if isinstance(stats, ShardStats):
        source = stats.shard
        counts: dict[WarningKind, tuple[int, str]] = {
            "diverged_slot": (stats.broken_slots, "Distiller slots diverged; their groups stay vanilla"),
            "vanilla_group": (stats.vanilla_groups, "groups found every Distiller slot taken and stay vanilla"),
            "trainer_failed": (stats.trainer_failures, "messages to a trainer failed; beta decays until it is back"),
            "dropped_rows": (stats.dropped_rows, "rows were not learned from: the trainer is behind"),
            "lost_rows": (stats.lost_rows, "rows were lost with a trainer"),
        }
    else:
        source = f"trainer {stats.incarnation}"
        counts = {"refused_rows": (stats.refused_rows, "rows of groups that the trainer does not know were refused")}
    return tuple(
        ActorWarning(source=source, kind=kind, message=message, count=count)
        for kind, (count, message) in counts.items()
        if count
    )
