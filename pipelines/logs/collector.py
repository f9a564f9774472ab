"""Warnings of all actors and of the driver, in the run folder: what is left to read of a cluster that is gone.

    any process of the job --logging, from WARNING on--> sender.py --> LogCollector (driver's node) --> logs/<session>.jsonl

Ray keeps an actor's log on the node where it ran. Here each record is with the driver as soon as it was logged, and on disk FLUSH_S later,
so a process that is killed leaves what it had logged.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.shards.placement import drivers_node
from pipelines.live.background_thread import BackgroundThread
from pipelines.logs.lines import json_line
from pipelines.logs.sender import COLLECTOR, drivers_warnings
from pipelines.runs.storage import storage_at

logger = logging.getLogger(__name__)

LOGS = "logs"
"""Folder in the run folder."""
NAME_TIMEOUT_S = 30.0
"""Time for which the name may still be that of the session before."""
FLUSH_S = 2.0
"""Between two writes while there is something to write; each replaces the file, which object stores cannot append to."""
MOST_LINES = 5_000
"""Of a session; the file then says how many more there were. An actor that warns in every step must not fill the driver's memory."""


class LogCollector:
    """Takes records, and keeps a session's file. A Ray actor."""

    def __init__(self, run_id: str, session: str) -> None:
        self._run_id = run_id
        self._name = f"{LOGS}/{session}.jsonl"
        self._lines: list[str] = []
        self._left_out = 0
        self._is_written = True
        self._lock = threading.Lock()
        self._folder: str | None = None
        self._thread = BackgroundThread(self._work, name="log-collector")

    def __repr__(self) -> str:
        return COLLECTOR

    def begin(self, folder: str) -> None:
        """There is a run in the folder now. Until here lines are kept in memory: nothing is written before a run begins."""
        self._folder = folder
        self._thread.start()

    def add(self, entry: dict[str, Any]) -> None:
        """Take a record, as the arguments of `json_line` but for the run."""
        with self._lock:
            self._is_written = False
            if len(self._lines) < MOST_LINES:
                self._lines.append(json_line(**entry, run=self._run_id))
            else:
                self._left_out += 1

    def end(self) -> None:
        """Write what is left."""
        if self._folder is not None:
            self._thread.end()
            self._write(self._folder)

    def _work(self) -> None:
        assert self._folder is not None
        while not self._thread.wait(FLUSH_S):
            self._write(self._folder)

    def _write(self, folder: str) -> None:
        with self._lock:
            if self._is_written:
                return
            lines, self._is_written = list(self._lines), True
            if self._left_out:
                said = f"{self._left_out} more lines were left out"
                lines.append(json_line(said, level="warning", source=COLLECTOR, run=self._run_id))
        try:
            storage = storage_at(folder)
            storage.make_folder(LOGS)
            storage.write(self._name, "".join(f"{line}\n" for line in lines).encode())
        except OSError:
            # A full disk ends the run where samples are written, with a line that says so; a log must not.
            logger.exception("%s was not written", self._name)


@contextlib.contextmanager
def collected_warnings(run_id: str, session: str) -> Iterator[ActorHandle]:
    """The collector of a session; needs Ray. Call its `begin` with the run folder once there is one."""
    collector = start_collector(run_id, session)
    try:
        with drivers_warnings():
            yield collector
    finally:
        with contextlib.suppress(RayError):  # a node that is lost took it along
            ray.get(collector.end.remote())
            ray.kill(collector)


def start_collector(run_id: str, session: str) -> ActorHandle:
    """Wait until the session before has given the name back."""
    deadline = time.monotonic() + NAME_TIMEOUT_S
    while True:
        try:
            return (
                ray.remote(LogCollector)
                .options(name=COLLECTOR, num_cpus=0, scheduling_strategy=drivers_node())
                .remote(run_id, session)
            )
        except ValueError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
