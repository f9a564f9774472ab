"""Engines of one machine start one after the other: several starting together can exceed its memory and be killed."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.errors import EngineStartError

MAX_STARTS = 3
"""Times in a row that an engine's process may die while it starts, before the actor fails instead of being restarted."""


@contextmanager
def engine_start_lock(actor_id: str) -> Iterator[None]:
    """Hold the machine's lock while this actor's engine starts. Raises EngineStartError if its former processes died while they held it.

    Ray does not restart an actor whose __init__ raised, but restarts one whose process was killed for ever; so the starts are counted, in
    a file that outlives the process.
    """
    folder = Path(tempfile.gettempdir()) / f"esamp-engine-starts-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    begun = folder / actor_id
    with (folder / "turn.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a file lock: the kernel releases it however the process ends
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
