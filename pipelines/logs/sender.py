"""A process's warnings on their way to the collector of the session: see collector.py. Workers of a job import this, so it stays light."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import Any

import ray
from ray.exceptions import RayError

from pipelines.logs.lines import DRIVER, record_fields

COLLECTOR = "log-collector"
"""Name of the actor, in the namespace of the job: a job has one session at a time."""


class CollectingHandler(logging.Handler):
    """Sends records. Those that come while no session is under way are dropped: Ray's own files have them."""

    def __init__(self, source: Callable[[], str]) -> None:
        super().__init__(logging.WARNING)
        self._source = source

    def emit(self, record: logging.LogRecord) -> None:
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
        with contextlib.suppress(ValueError, RayError):  # no session is under way
            ray.get_actor(COLLECTOR).add.remote(entry)


class ToThread(QueueHandler):
    """To a thread of this process, for which no text has to be made of a record first."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


def send_warnings(source: Callable[[], str]) -> tuple[ToThread, QueueListener]:
    """Send this process's warnings from now on. By a thread: an engine's step may be what logs, and must not wait for Ray."""
    records: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler, listener = ToThread(records), QueueListener(records, CollectingHandler(source))
    handler.setLevel(logging.WARNING)
    logging.root.addHandler(handler)
    listener.start()
    return handler, listener


@contextlib.contextmanager
def drivers_warnings() -> Iterator[None]:
    """Send the driver's warnings while the block runs."""
    handler, listener = send_warnings(lambda: DRIVER)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)
        listener.stop()
