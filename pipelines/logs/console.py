"""Where a run talks to its user, or to what collects logs."""

import sys
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from pipelines.logs.lines import DRIVER, PROCESS_LOG, Level, json_line

WARNING = "warning: "
"""Begin of a line that warns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """What a console prints that knows more of it than its text."""

    text: str
    """As people read it."""
    message: str
    """As a JSON object holds it, beside what follows."""
    level: Level = "info"
    source: str = DRIVER
    fields: dict[str, Any] = field(default_factory=dict)
    """More of the object."""

    def __rich__(self) -> Text:
        return Text(self.text, style="yellow" if self.level == "warning" else "")


def run_console() -> Console:
    """Where a run talks, in the log format of the process."""
    return JsonConsole(sys.stdout) if PROCESS_LOG.format == "json" else Console(file=sys.stdout)


class JsonConsole(Console):
    """Each thing that is printed is a line with a JSON object, a table too. Nothing is live, and nothing has colours."""

    def __init__(self, file: TextIO) -> None:
        super().__init__(file=file, width=120, color_system=None, force_terminal=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """As Console.print."""
        for line in objects:
            if isinstance(line, LogLine):
                self._write(json_line(line.message, level=line.level, source=line.source, **line.fields))
        if any(isinstance(line, LogLine) for line in objects):
            return
        with self.capture() as captured:
            super().print(*objects, **options)
        message = captured.get().strip("\n")
        level = "warning" if message.startswith(WARNING) else "info"
        if message:
            self._write(json_line(message.removeprefix(WARNING), level=level, source=DRIVER))

    def rule(self, *title: Any, **options: Any) -> None:
        """Nothing: a rule is for the eye."""

    def _write(self, line: str) -> None:
        # One write for a line, so that those of two threads do not mix.
        self.file.write(line + "\n")
        self.file.flush()
