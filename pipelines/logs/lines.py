"""A line of a log, for people or as a JSON object:

    {"time": "2026-11-29T05:41:07.213+00:00", "level": "warning", "run": "3f2a9c81d0aa", "source": "shard-0", "message": "...", ...}

`run` is the run's id in run.json; `source` the actor, "driver" for the process of the job itself. Progress lines have a `progress` beside.
"""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["text", "json"]
Level = Literal["info", "warning", "error"]

DRIVER = "driver"


@dataclass(slots=True)
class ProcessLog:
    """How this process writes its log. Of the process, as its standard output is."""

    format: LogFormat = "text"
    run: str | None = None
    """Id of the run that is under way; None before there is one."""


PROCESS_LOG = ProcessLog()


def json_line(
    message: str, *, level: str, source: str, run: str | None = None, at: float | None = None, **fields: Any
) -> str:
    """One line, without its end. `at`: Unix time, by default now; `run`: by default the one that is under way."""
    time = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    entry = {
        "time": time.isoformat(timespec="milliseconds"),
        "level": level,
        "run": PROCESS_LOG.run if run is None else run,
        "source": source,
        "message": message,
        **fields,
    }
    return json.dumps(entry, ensure_ascii=False)


def error_line(line: str) -> str:
    """The line that a job ends with, in the format of the process."""
    if PROCESS_LOG.format == "text":
        return line
    return json_line(line.removeprefix("error: "), level="error", source=DRIVER)


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record of Python's logging says beside its message and level."""
    fields: dict[str, Any] = {"logger": record.name}
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


class JsonFormatter(logging.Formatter):
    """Python's logging as such lines."""

    def __init__(self, source: Callable[[], str], run: str | None = None) -> None:
        """`run`: None for the one that is under way in this process."""
        super().__init__()
        self._source, self._run = source, run

    def format(self, record: logging.LogRecord) -> str:
        """One line: a JSON object."""
        return json_line(
            record.getMessage(),
            level=record.levelname.lower(),
            source=self._source(),
            run=self._run,
            at=record.created,
            **record_fields(record),
        )


def use_log_format(log_format: LogFormat) -> None:
    """Set how this process writes: what it prints by `run_console`, logs, and ends with."""
    PROCESS_LOG.format = log_format
    if log_format == "json" and not any(isinstance(h.formatter, JsonFormatter) for h in logging.root.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter(lambda: DRIVER))
        logging.root.addHandler(handler)
