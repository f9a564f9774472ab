"""The supervisor's side of a zygote: starts graders, and hears from the kernel when they are gone."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator

LAST_WORDS_BYTES = 2**16
"""Kept of what graders and zygotes complain."""


class GraderEndedError(Exception):
    """A grader gave no verdict. The text says what is known of why."""


class GraderTimeoutError(Exception):
    """A grader did not speak in time."""


class Zygote:
    """One warm Python in the isolation backend. Any thread may use it, several at once."""

    def __init__(self, command: list[str]) -> None:
        """Start it. It is ready when it answers: its first grader waits for it."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={},
                cwd="/",
                start_new_session=True,
            )
        self._finish = weakref.finalize(self, end, self._control, self._process)
        self._lock = threading.Lock()
        self._started = 0
        self._in_flight = 0
        self._is_retired = False

    @property
    def started(self) -> int:
        """Samples so far."""
        return self._started

    def grade(self, frames: bytes, *, timeout_s: float) -> bytes:
        """What a grader says of one sample. Raises GraderEndedError if it says nothing, GraderTimeoutError if not in time."""
        with self._grader() as (number, stdin, stdout, stderr):
            try:
                output, complaint = exchange(frames, stdin, stdout, stderr, deadline=time.monotonic() + timeout_s)
            except TimeoutError as error:
                with contextlib.suppress(OSError):
                    self._control.send(b"K" + number.to_bytes(8, "big"))
                raise GraderTimeoutError from error
        if len(output) < 4 or len(output) != 4 + int.from_bytes(output[:4], "big"):
            raise GraderEndedError(self._why(complaint))
        return output[4:]

    @contextlib.contextmanager
    def _grader(self) -> Iterator[tuple[int, int, int, int]]:
        """A grader's number and our ends of its streams, closed on the way out, standard input by `exchange`."""
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        ours_err, theirs_err = os.pipe()
        with self._lock:
            self._started += 1
            self._in_flight += 1
            number = self._started
        try:
            with contextlib.suppress(
                OSError
            ):  # a zygote that is gone: the streams end at once, and that is what is looked at
                socket.send_fds(self._control, [b"S" + number.to_bytes(8, "big")], [theirs_in, theirs_out, theirs_err])
            for fd in (theirs_in, theirs_out, theirs_err):
                os.close(fd)
            yield number, ours_in, ours_out, ours_err
        finally:
            os.close(ours_out)
            os.close(ours_err)
            with self._lock:
                self._in_flight -= 1
                is_last = self._is_retired and not self._in_flight
            if is_last:
                self._finish()

    def retire(self) -> None:
        """End it as soon as it has no sample any more."""
        with self._lock:
            self._is_retired = True
            is_last = not self._in_flight
        if is_last:
            self._finish()

    def _why(self, complaint: bytes) -> str:
        """What is known of a grader that said nothing."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(0.2)
            assert self._process.stderr is not None, "it was started with a pipe"
            complaint += self._process.stderr.read() or b""
            return f"no verdict, exit status {status}: {last_line(complaint)}"
        return f"no verdict: {last_line(complaint)}"


def end(control: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Close the socket, which ends the process, and bury it."""
    control.close()
    with process:
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def last_line(complaint: bytes) -> str:
    """The last line of standard error."""
    lines = complaint.decode(errors="replace").strip().splitlines() or ["nothing on standard error"]
    return lines[-1][:300]


def exchange(frames: bytes, stdin: int, stdout: int, stderr: int, *, deadline: float) -> tuple[bytes, bytes]:
    """Feed a grader, and collect its verdict and its complaints until it closes its standard output. Closes `stdin`.

    Raises TimeoutError at the deadline.
    """
    os.set_blocking(stdin, False)
    unsent, output, complaint = memoryview(frames), bytearray(), bytearray()
    poll = select.poll()
    poll.register(stdin, select.POLLOUT)
    poll.register(stdout, select.POLLIN)
    poll.register(stderr, select.POLLIN)
    is_fed = False
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for fd, _ in poll.poll(left * 1000):
                if fd == stdin:
                    try:
                        unsent = unsent[os.write(stdin, unsent) :]
                    except BrokenPipeError:
                        unsent = unsent[:0]
                    if not unsent:
                        poll.unregister(stdin)
                        os.close(stdin)
                        is_fed = True
                    continue
                part = os.read(fd, 2**16)
                if fd == stdout:
                    output += part
                    if not part:
                        return bytes(output), bytes(complaint + last_words(stderr))
                elif part:
                    complaint = (complaint + part)[-LAST_WORDS_BYTES:]
                else:
                    poll.unregister(stderr)
    finally:
        if not is_fed:
            os.close(stdin)


def last_words(stderr: int) -> bytes:
    """What is left on standard error, without waiting for more."""
    os.set_blocking(stderr, False)
    with contextlib.suppress(BlockingIOError):
        return os.read(stderr, 2**16)
    return b""
