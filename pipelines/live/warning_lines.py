"""What actors warn of, on the terminal."""

from collections.abc import Sequence

from rich.console import Console

from actors.types import ActorWarning
from pipelines.logs.console import WARNING, LogLine


class WarningLines:
    """Prints what actors warn of above the progress line: each actor's kind of warning once, and again at ten times the count."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[tuple[str, str], int] = {}
        self._latest: dict[tuple[str, str], str] = {}

    def show(self, warnings: Sequence[ActorWarning]) -> None:
        """Print those that were not shown yet. A long run would repeat some of them every half second."""
        for warning in warnings:
            key = (warning.source, warning.kind)
            text = f"{warning.source}: {warning.message} ({warning.kind.replace('_', ' ')}: {warning.count})"
            self._latest[key] = text
            if warning.count >= 10 * self._shown.get(key, 0) or key not in self._shown:
                self._shown[key] = warning.count
                line = LogLine(
                    text=f"{WARNING}{text}",
                    message=warning.message,
                    level="warning",
                    source=warning.source,
                    fields={"kind": warning.kind, "count": warning.count},
                )
                self._console.print(line, highlight=False, soft_wrap=True)

    @property
    def latest(self) -> tuple[str, ...]:
        """A line of each kind, with its newest count."""
        return tuple(self._latest.values())
