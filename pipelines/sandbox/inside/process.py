"""The processes that a grader has forked off, and how one ended that does not answer any more."""

import os
import signal
import time

from pipelines.sandbox.inside.wire import MAX_TRUSTED_BYTES, WireError, receive, receive_bytes, send_bytes

CONFINED = "confined"
"""What the program's process says first, before it has read anything of the model's."""


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
