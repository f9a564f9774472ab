"""SIGTERM and Ctrl-C during a session: what is finished is saved at once, what is under way gets a grace period, then the session ends.

    signal -> the router drains: no further work unit is begun, and every LiveLog writes what it has, now and several times a second
           -> until no work unit is under way, or the grace period is over
           -> KeyboardInterrupt (SIGTERM: Terminated) in the main thread, which records the session

A second signal ends the process at once. Before the shards are ready there is nothing to save, and the first signal ends the session.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from rich.console import Console

from pipelines.errors import Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAST_SAVE_S = 1.0
"""After the grace period: time for the samples that finished in its last moment to be saved."""
POLL_S = 0.2


class StopSignals:
    """Handles them for the `with` block, in the main thread; elsewhere the process keeps the handlers it has."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drain: Drain | None = None
        self._received: int | None = None
        self._stop: KeyboardInterrupt | None = None

    def __enter__(self) -> "StopSignals":
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            # Ray's own handler for SIGTERM, set by ray.init, ends the process without a word: ours comes after it.
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def with_grace(self, router: ActorHandle, grace_s: float) -> Iterator[None]:
        """While the block runs, samples under way get `grace_s` seconds from the first signal on. What ends the block then is kept in
        `interrupt`, for whoever has recorded the session to raise."""
        self._drain = Drain(router, grace_s)
        try:
            yield
        except KeyboardInterrupt as stop:
            self._stop = stop
        finally:
            self._drain.end()
            self._drain = None

    @property
    def interrupt(self) -> KeyboardInterrupt | None:
        """What ends the session; None if there was no signal. A session that came to its end in the grace period is ended all the same:
        there may be another run behind it."""
        return self._stop or (None if self._received is None else interrupt(self._received))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._drain is not None and self._drain.is_over:
            raise interrupt(self._received or number)
        if self._received is not None:
            self._console.print("stopped at once by a second signal; the same command goes on", highlight=False)
            sys.stdout.flush()
            os._exit(128 + number)
        self._received = number
        if self._drain is None:
            raise interrupt(number)
        name = signal.Signals(number).name
        self._console.print(
            f"{name}: finished samples are being saved; samples under way get {self._drain.grace_s:g} s (--grace). A second signal ends "
            "the run at once.",
            highlight=False,
            soft_wrap=True,
        )
        self._drain.start(number)


def interrupt(number: int) -> KeyboardInterrupt:
    """What a signal raises."""
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


class Drain:
    """The grace period, in a thread: the main thread is inside Ray Data meanwhile."""

    def __init__(self, router: ActorHandle, grace_s: float) -> None:
        self.grace_s = grace_s
        self.is_over = False
        self._router = router
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, number: int) -> None:
        """Begin; the process gets the signal `number` once more when the period is over."""
        self._thread = threading.Thread(target=self._run, args=(number,), name="drain", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The session has ended."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, number: int) -> None:
        try:
            ray.get(self._router.drain.remote())
            self._wait_for_units()
        except RayError:
            pass  # the router is gone, and the session with it: there is nothing to wait for
        if not self._end.wait(LAST_SAVE_S):
            self.is_over = True
            os.kill(os.getpid(), number)

    def _wait_for_units(self) -> None:
        waited_s = 0.0
        while waited_s < self.grace_s and ray.get(self._router.num_leases.remote()) and not self._end.wait(POLL_S):
            waited_s += POLL_S
