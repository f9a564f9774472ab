"""Engines of one machine start one after the other: several starting together can exceed its memory and be killed."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.errors import EngineStartError

MAX_STARTS = 3
"""Times in a row that an engine's process may end while it starts, before Ray is told not to start it again."""


@contextmanager
def engine_start_lock(actor_id: str) -> Iterator[None]:
    """The turn of this actor's engine. Raises EngineStartError if its former processes ended during their turns.

    An exception during the start ends the actor for good. A process that is killed is started again by Ray, for ever if nobody counts.
    """
    folder = Path(tempfile.gettempdir()) / f"esamp-engine-starts-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    begun = folder / actor_id
    with (folder / "turn.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the kernel, whatever ends the process
        starts = begun.stat().st_size if begun.exists() else 0
        if starts == MAX_STARTS:
            begun.unlink()
            raise EngineStartError(
                f"the engine's process ended {MAX_STARTS} times while it started, most likely killed for its memory. "
                "Use a smaller --engine.kv-cache-gib or --engine.max-model-len, fewer --shards to a node, or larger nodes."
            )
        begun.write_text("x" * (starts + 1))
        try:
            yield
        finally:
            begun.unlink(missing_ok=True)
