"""Where the Distiller works beside the decode loop: a thread of its own on a CPU, a stream of its own on a GPU."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

import torch

T = TypeVar("T")


class Job(Generic[T]):
    """Something the thread was told to do."""

    __slots__ = ("_error", "_is_done", "_result", "_work")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: T
        self._error: BaseException | None = None
        self._is_done = threading.Lock()
        self._is_done.acquire()

    def run(self) -> None:
        """In the thread. What it raises is kept for `result`."""
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error
        finally:
            self._is_done.release()

    @property
    def is_done(self) -> bool:
        """True once `result` need not wait."""
        return not self._is_done.locked()

    def result(self) -> T:
        """Waits for it; raises what it raised. Once."""
        self._is_done.acquire()
        if self._error is not None:
            raise self._error
        return self._result


class DistillerThread:
    """Does jobs one after the other, in the order they were given.

    concurrent.futures does the same at three times the price: each of its locks is taken under the interpreter's, which the decode loop
    needs meanwhile.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="distiller", daemon=True).start()

    def submit(self, work: Callable[[], T]) -> Job[T]:
        """Have `work` done."""
        job = Job(work)
        self._jobs.put(job)
        return job

    def _run(self) -> None:
        while True:
            self._jobs.get().run()


BackgroundExecutor: TypeAlias = DistillerThread | torch.cuda.Stream


def background_executor(device: torch.device) -> BackgroundExecutor:
    """The one for this device."""
    return torch.cuda.Stream(device) if device.type == "cuda" else DistillerThread()
