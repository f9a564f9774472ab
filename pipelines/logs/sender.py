"""A process's warnings on their way to the collector of the session: see collector.py. Workers of a job import this, so it stays light."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Any

import ray
from ray.exceptions import RayError

from pipelines.logs.lines import DRIVER, record_fields

COLLECTOR = "log-collector"
"""Name of the actor, in the namespace of the job: a job has one session at a time."""


class ToThread(QueueHandler):
    """To a thread of this process, for which no text has to be made of a record first."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


class WarningSender:
    """Sends this process's warnings from its making on, by a thread: an engine's step may be what logs, and must not wait for Ray.

    No logging.Handler calls Ray: it would hold its lock meanwhile, and whoever configures logging (vLLM does as an engine starts) takes the
    lock of logging first and then each handler's, while Ray's calls take that of logging.
    """

    def __init__(self, source: Callable[[], str]) -> None:
        self._source = source
        self._records: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self._handler = ToThread(self._records)
        self._handler.setLevel(logging.WARNING)
        self._thread = threading.Thread(target=self._send_all, name="warning-sender", daemon=True)
        logging.root.addHandler(self._handler)
        self._thread.start()

    def end(self) -> None:
        """Send what was logged until now, and no more."""
        logging.root.removeHandler(self._handler)
        self._records.put(None)
        self._thread.join()

    def _send_all(self) -> None:
        while (record := self._records.get()) is not None:
            self._send(record)

    def _send(self, record: logging.LogRecord) -> None:
        if not ray.is_initialized():
            return
        entry: dict[str, Any] = {
            "message": record.getMessage(),
            "level": record.levelname.lower(),
            "source": self._source(),
            "at": record.created,
            "node": ray.get_runtime_context().get_node_id(),
            "pid": os.getpid(),
            **record_fields(record),
        }
        # Those that come while no session is under way are dropped: Ray's own files have them.
        with contextlib.suppress(ValueError, RayError):
            ray.get_actor(COLLECTOR).add.remote(entry)


@contextlib.contextmanager
def drivers_warnings() -> Iterator[None]:
    """Send the driver's warnings while the block runs."""
    sender = WarningSender(lambda: DRIVER)
    try:
        yield
    finally:
        sender.end()
