"""Where the Distiller predicts and trains while the decode loop goes on: one thread on a CPU, one stream on a GPU."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

import torch

T = TypeVar("T")


class Job(Generic[T]):
    """A call submitted to the thread, and its result."""

    __slots__ = ("_error", "_is_done", "_result", "_work")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: T
        self._error: BaseException | None = None
        self._is_done = threading.Lock()
        self._is_done.acquire()

    def run(self) -> None:
        """Called by the thread. An exception is kept for `result`."""
        try:
            self._result = self._work()
        except BaseException as error:  # re-raised by `result` in the decode loop, a KeyboardInterrupt too
            self._error = error
        finally:
            self._is_done.release()

    @property
    def is_done(self) -> bool:
        """True once `result` returns at once."""
        return not self._is_done.locked()

    def result(self) -> T:
        """Wait for the result; raises what the call raised. To be called once: it takes the lock for good."""
        self._is_done.acquire()
        if self._error is not None:
            raise self._error
        return self._result


class DistillerThread:
    """Runs jobs one after the other, in the order of submission.

    concurrent.futures costs three times as much: it takes each of its locks while it holds the interpreter's, which the decode loop
    needs meanwhile.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="distiller", daemon=True).start()

    def submit(self, work: Callable[[], T]) -> Job[T]:
        """Run `work` after all jobs submitted before."""
        job = Job(work)
        self._jobs.put(job)
        return job

    def _run(self) -> None:
        while True:
            self._jobs.get().run()


BackgroundExecutor: TypeAlias = DistillerThread | torch.cuda.Stream


def background_executor(device: torch.device) -> BackgroundExecutor:
    """The background executor for this device."""
    return torch.cuda.Stream(device) if device.type == "cuda" else DistillerThread()
