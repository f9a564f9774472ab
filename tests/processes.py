"""Real processes of a test's own Ray, to be killed: found among the descendants of a driver, or of what holds the cluster."""

import os
import signal
import time
from collections.abc import Callable

import psutil


def workers(name: str, *, of: int | None = None) -> list[int]:
    """Ids of Ray's worker processes whose title holds `name`, such as "VerifierActor", below process `of` (this one, by default)."""
    found = []
    for process in psutil.Process(of or os.getpid()).children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue  # it ended meanwhile
        if title.startswith("ray::") and name in title:
            found.append(process.pid)
    return found


def kill(pid: int) -> None:
    """As the kernel does when memory runs out."""
    os.kill(pid, signal.SIGKILL)


def wait_until(claim: Callable[[], bool], timeout_s: float = 400.0) -> None:
    """Returns once the claim holds."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
