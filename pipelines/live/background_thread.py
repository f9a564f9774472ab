"""A thread that works while a `with` block runs, and ends with it."""

import threading
from collections.abc import Callable
from types import TracebackType


class BackgroundThread:
    """Runs a function until `end`, and once more nothing: whoever needs a last look takes it after `end`."""

    def __init__(self, work: Callable[[], None], *, name: str) -> None:
        """`work`: returns soon after `wait` has returned True."""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=work, name=name, daemon=True)

    def wait(self, seconds: float) -> bool:
        """For `work`: True as soon as it shall end, False after so many seconds."""
        return self._is_over.wait(seconds)

    def start(self) -> None:
        """Begin, once."""
        self._thread.start()

    def end(self) -> None:
        """Ask it to end, and wait until it has. May be called again."""
        self._is_over.set()
        self._thread.join()

    def __enter__(self) -> "BackgroundThread":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
