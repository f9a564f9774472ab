"""Samples on one machine run together, whichever process they are of; one that was starved of its time runs once more, alone."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LONGEST_WAIT_S = 60.0
"""For the samples that run to end. Then the lone one runs anyway: its holder may have been stopped."""
RETRY_S = 0.02


def lock_file(name: str) -> Path:
    """A file of this user's, for all processes on this machine."""
    return Path(tempfile.gettempdir()) / f"code-sandbox-{os.getuid()}-{name}.lock"


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Run beside others, after whoever wants to be alone."""
    with locked("gate", fcntl.LOCK_SH):
        pass  # held only by one who waits for the others to end
    with locked("run", fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Run while no other sample does; new ones wait. The order of the two locks is that of `together`."""
    with locked("gate", fcntl.LOCK_EX), locked("run", fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def locked(name: str, kind: int) -> Iterator[None]:
    """Hold a lock among this machine's processes and threads; go on without after LONGEST_WAIT_S, or where no file can be made."""
    try:
        file = os.open(lock_file(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + LONGEST_WAIT_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(RETRY_S)
        yield
    finally:
        os.close(file)
