"""The program as its grader sees it: names, calls and attributes that are answered by another process."""

import builtins
import os
import signal
import time
from collections import deque
from typing import Any

from pipelines.sandbox.inside.values import CannotCross, decode, encode
from pipelines.sandbox.inside.wire import MAX_TRUSTED_BYTES, WireError, receive, receive_bytes, send, send_bytes

CONFINED = "confined"
"""What the program's process says first, before it has read anything of the model's."""


class Unreadable(Exception):
    """The program's source does not compile."""


class ProgramError(Exception):
    """The program raised something that is no built-in exception."""


class Remote:
    """A function, class or instance of the program's. It can be called, asked for attributes and handed back; it equals itself only."""

    def __init__(self, program: "RemoteProgram", handle: int) -> None:
        self._program = program
        self._handle = handle

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._program.call(self._handle, list(arguments), named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"{name} does not cross from the program's process")
        return self._program.attribute(self._handle, name)


class RemoteProcess:
    """A process that this one forked off, and the pipes to it."""

    def __init__(self, pid: int, requests: int, replies: int) -> None:
        self._pid = pid
        self._requests = requests
        self._replies = replies

    def is_confined(self) -> bool:
        """Wait for the program's process to be ready; False if it failed to lock itself in."""
        try:
            return bool(receive(self._replies) == CONFINED)
        except WireError:
            return False

    def how_it_ended(self, error: WireError) -> tuple[str, str]:
        """Status and detail of a program that does not answer any more."""
        for _ in range(20):
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid = 0
                return ended_by(status)
            time.sleep(0.01)
        return "failed", f"the program broke off its answers: {error}"

    def kill(self) -> None:
        """End the program's process, if it runs, and wait until it is gone."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


class RemoteProgram(RemoteProcess):
    """The program's own process."""

    def run(self, source: str) -> None:
        """Run the program's top level. Raises Unreadable, or what the program raises."""
        self._ask({"run": source})

    def named(self, name: str) -> Any:
        """What the program calls by this name."""
        return self._decode(self._ask({"name": name})["value"])

    def attribute(self, handle: int, name: str) -> Any:
        """An attribute of something of the program's."""
        return self._decode(self._ask({"attribute": handle, "name": name})["value"])

    def call(self, handle: int, arguments: list[Any], named: dict[str, Any]) -> Any:
        """Call something of the program's. Lists, dicts and sets that it changed in place are changed here too."""
        reply = self._ask({"call": handle, "arguments": self._encode(arguments), "named": self._encode(named)})
        if reply.get("arguments") is not None:
            for argument, after in zip(arguments, self._decode(reply["arguments"]), strict=True):
                change_in_place(argument, after)
        return self._decode(reply["value"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            send(self._requests, request, max_bytes=MAX_TRUSTED_BYTES)
        except BrokenPipeError as error:
            raise WireError("the program closed its pipe") from error
        match receive(self._replies):
            case {"unreadable": str(text)}:
                raise Unreadable(text)
            case {"raised": str(name), "text": str(text)}:
                raise exception(name, text)
            case {"value": _} as reply:
                return reply
        raise WireError("the program answered in another form")

    def _encode(self, value: Any) -> Any:
        return encode(value, self._handle_of)

    def _decode(self, tree: Any) -> Any:
        return decode(tree, lambda handle: Remote(self, handle))

    def _handle_of(self, value: Any) -> int:
        if isinstance(value, Remote):
            return value._handle
        raise CannotCross(f"the tests hand over a {type(value).__name__}, which cannot leave their process")


class RemoteRunner(RemoteProcess):
    """The runner, which has a child for each run of the program."""

    def run(self, standard_input: str) -> tuple[str, str]:
        """What the program printed, with the status "passed"; else the status and the reason. Raises WireError if the runner is gone."""
        try:
            send_bytes(self._requests, standard_input.encode(errors="replace"), max_bytes=MAX_TRUSTED_BYTES)
        except BrokenPipeError as error:
            raise WireError("the runner closed its pipe") from error
        ended = receive(self._replies)
        if ended["status"] != "passed":
            return ended["status"], ended["detail"]
        return "passed", receive_bytes(self._replies).decode(errors="replace")


def ended_by(status: int) -> tuple[str, str]:
    """Status and detail of a program that ended by itself, from its wait status."""
    if not os.WIFSIGNALED(status):
        return "failed", f"the program exited with {os.WEXITSTATUS(status)} before its tests were done"
    match os.WTERMSIG(status):
        case signal.SIGKILL:
            return "out_of_memory", "killed by the kernel, most likely for its memory"
        case signal.SIGXCPU:
            return "timeout", "out of processor time"
        case number:
            return "failed", f"the program died of {signal.Signals(number).name}"


def exception(name: str, text: str) -> Exception:
    """The exception a program raised, as far as it is a built-in one: a test may expect it.

    StopIteration is none of them here: it would end a loop of the tests early, and what is not looked at cannot fail.
    """
    kind = vars(builtins).get(name)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, StopIteration):
        try:
            return kind(text)
        except TypeError:  # a few need more than a text
            pass
    return ProgramError(f"{name}: {text}")


def change_in_place(argument: Any, after: Any) -> None:
    """Make a mutable argument what it became in the program's process."""
    if type(argument) is not type(after):
        return
    match argument:
        case list() | bytearray():
            argument[:] = after
        case dict() | set():
            argument.clear()
            argument.update(after)
        case deque():
            argument.clear()
            argument.extend(after)
