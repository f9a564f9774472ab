"""Threads for a program that may not start any: a few that were there, and locked in, before it was.

The filter cannot count, so no thread can be started behind it. A program on standard input whose source speaks of threads gets NUM_THREADS
that wait; each serves one start of a thread, as Python's own do, and is gone with it.
"""

import resource
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

NUM_THREADS = 16
M_ARENA_MAX = -8  # malloc.h
LARGEST_STACK_BYTES, SMALLEST_STACK_BYTES = 16 * 2**20, 256 * 2**10
STACKS_SHARE = 4
"""The stacks of all threads take at most this part of the address space that the program's memory limit leaves it."""


class WaitingThreads:
    """Threads that wait for a function to run."""

    def __init__(self, confine: Callable[[], None]) -> None:
        """Start them; each locks itself in first. Raises RuntimeError if one could not."""
        self._tasks: deque[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = deque()
        self._has_task = threading.Semaphore(0)
        self._is_confined: list[bool] = []
        self._left = NUM_THREADS
        ready = threading.Barrier(NUM_THREADS + 1)

        def wait() -> None:
            """What each thread runs: lock itself in, then wait for its one task."""
            try:
                confine()
                self._is_confined.append(True)
            finally:
                ready.wait()
            self._has_task.acquire()
            function, arguments, named = self._tasks.popleft()
            function(*arguments, **named)

        if sys.platform == "linux":
            from pipelines.sandbox.inside.kernel import LIBC

            LIBC.mallopt(M_ARENA_MAX, 1)  # by default each thread takes 64 MiB of address space for its own heap
        usual = threading.stack_size(stack_bytes())
        for _ in range(NUM_THREADS):
            start_new_thread(wait, ())
        threading.stack_size(usual)
        ready.wait()
        if len(self._is_confined) != NUM_THREADS:
            raise RuntimeError("a thread could not be confined")

    def start(
        self, function: Callable[..., object], arguments: tuple[Any, ...], named: dict[str, Any] | None = None
    ) -> int:
        """In place of _thread.start_new_thread. Raises RuntimeError, as that does, when all are taken."""
        if not self._left:
            raise RuntimeError("can't start new thread")
        self._left -= 1
        self._tasks.append((function, arguments, named or {}))
        self._has_task.release()
        return 0


def stack_bytes() -> int:
    """Address space of each stack, in whole pages."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return LARGEST_STACK_BYTES
    share = limit // (STACKS_SHARE * NUM_THREADS) // resource.getpagesize() * resource.getpagesize()
    return max(SMALLEST_STACK_BYTES, min(LARGEST_STACK_BYTES, share))


start_new_thread: Callable[..., int] = vars(threading)["_start_new_thread"]


def provide(confine: Callable[[], None]) -> None:
    """Have threading and _thread start threads from those that wait."""
    import _thread

    waiting = WaitingThreads(confine)
    vars(threading)["_start_new_thread"] = waiting.start
    vars(_thread)["start_new_thread"] = vars(_thread)["start_new"] = waiting.start
