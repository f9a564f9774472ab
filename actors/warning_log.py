"""Warnings of one actor, for the terminal of the driver: Ray keeps an actor's own log in a file on the actor's node.

An actor records here what a user should know; its counters (`stats`, `counts`) carry the entries to the driver, which polls those anyway.
There is one entry for each kind of warning, so that a warning that repeats for hours takes no more room than one.
"""

import logging
import threading

from actors.types import ActorWarning, WarningKind

logger = logging.getLogger(__name__)


class WarningLog:
    """Latest message and number of occurrences of each kind of warning. Threads may share it."""

    def __init__(self, source: str) -> None:
        """`source`: the actor, as the user shall read it, such as "shard-0"."""
        self._source = source
        # A shard records from its engine thread and its exchange thread, and is read by Ray's asyncio thread.
        self._lock = threading.Lock()
        self._entries: dict[WarningKind, tuple[str, int]] = {}

    def record(self, kind: WarningKind, message: str) -> None:
        """It happened once more."""
        logger.warning("%s: %s", self._source, message)
        with self._lock:
            _, count = self._entries.get(kind, ("", 0))
            self._entries[kind] = (message, count + 1)

    def set_count(self, kind: WarningKind, message: str, count: int) -> None:
        """It has happened `count` times so far, as a counter says; no entry for 0."""
        if count:
            with self._lock:
                self._entries[kind] = (message, count)

    def warnings(self) -> tuple[ActorWarning, ...]:
        """An entry for each kind, in the order of their first occurrence."""
        with self._lock:
            entries = list(self._entries.items())
        return tuple(
            ActorWarning(source=self._source, kind=kind, message=message, count=count)
            for kind, (message, count) in entries
        )
