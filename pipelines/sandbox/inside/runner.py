"""Runs the program as a script, anew for each input, each time in a child that is locked in before it reads a line of the program.

    grader --input--> runner --standard input-->  child
           <-ended--         <-standard output--

The runner itself runs nothing of what the model wrote, and is forked off before the tests come, as every process on this side. So it
has no expected output that a child could look for in its memory. A fork takes about a millisecond where a Python takes 25.
"""

import atexit
import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Never

from pipelines.sandbox.inside.prelude import PRELUDE
from pipelines.sandbox.inside.program import give_quit, text_of
from pipelines.sandbox.inside.wire import MAX_FRAME_BYTES, MAX_TRUSTED_BYTES, WireError, receive_bytes, send, send_bytes

RAISED, OUT_OF_MEMORY, UNREADABLE = 101, 102, 103
"""Exit statuses of a child that say more than others. A program may exit with them too: none is a pass."""
TAIL_BYTES = 1024
"""Kept of standard error: its last line says what was raised."""
CHUNK_BYTES = 2**16


def serve_runs(requests: int, replies: int, source: str, confine: Callable[[], None], ready: object) -> None:
    """Say `ready` once a first child has locked itself in, then run the program for each input until the grader closes the pipe."""
    exec(PRELUDE, {})  # what every child is going to import
    if run("", b"", confine) is None:
        return
    send(replies, ready)
    while True:
        try:
            standard_input = receive_bytes(requests, max_bytes=MAX_TRUSTED_BYTES)
        except WireError:
            return
        ended = run(source, standard_input, confine)
        if ended is None:
            send(replies, {"status": "sandbox_failed", "detail": "the program could not be confined, and was not run"})
            return
        wait_status, output, complaint = ended
        status, detail = how_it_ended(wait_status, complaint)
        if len(output) > MAX_FRAME_BYTES:
            status, detail, output = "failed", f"printed more than {MAX_FRAME_BYTES} bytes", b""
        send(replies, {"status": status, "detail": detail})
        send_bytes(replies, output)


def run(source: str, standard_input: bytes, confine: Callable[[], None]) -> tuple[int, bytes, str] | None:
    """One run: its wait status, what it printed, and the last line of its standard error. None if the child was not locked in."""
    stdin, stdout, stderr, locked_in = os.pipe(), os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        become_program(source, (stdin[0], stdout[1], stderr[1]), locked_in[1], confine)
    for fd in (stdin[0], stdout[1], stderr[1], locked_in[1]):
        os.close(fd)
    is_locked_in = os.read(locked_in[0], 1) == b"1"
    os.close(locked_in[0])
    if is_locked_in:
        output, errors = exchange(pid, standard_input, stdin[1], stdout[0], stderr[0])
    else:
        os.close(stdin[1])
    for fd in (stdout[0], stderr[0]):
        os.close(fd)
    _, wait_status = os.waitpid(pid, 0)
    if not is_locked_in:
        return None
    return wait_status, output, (errors.decode(errors="replace").strip().splitlines() or [""])[-1][:300]


def exchange(pid: int, standard_input: bytes, stdin: int, stdout: int, stderr: int) -> tuple[bytes, bytes]:
    """Feed a child and collect what it writes, until it has closed both streams. One that prints too much is killed."""
    os.set_blocking(stdin, False)
    poll, open_streams = select.poll(), {stdout, stderr}
    for stream in open_streams:
        poll.register(stream, select.POLLIN)
    poll.register(stdin, select.POLLOUT)
    unread, output, errors = memoryview(standard_input), bytearray(), b""
    is_fed = False
    while open_streams:
        for fd, _ in poll.poll():
            if fd == stdin:
                try:
                    unread = unread[os.write(stdin, unread[:CHUNK_BYTES]) :]
                except BrokenPipeError:  # it has read enough
                    unread = unread[:0]
                if not unread:
                    poll.unregister(stdin)
                    os.close(stdin)
                    is_fed = True
                continue
            part = os.read(fd, CHUNK_BYTES)
            if not part:
                poll.unregister(fd)
                open_streams.discard(fd)
            elif fd == stdout:
                output += part
                if len(output) > MAX_FRAME_BYTES:
                    os.kill(pid, signal.SIGKILL)
                    open_streams.clear()
            else:
                errors = (errors + part)[-TAIL_BYTES:]
    if not is_fed:
        os.close(stdin)
    return bytes(output), errors


def how_it_ended(wait_status: int, complaint: str) -> tuple[str, str]:
    """Status and detail of a run: passed so far, if it ended by itself."""
    if wait_status == 0:
        return "passed", ""
    match os.waitstatus_to_exitcode(wait_status):
        case code if code == UNREADABLE:
            return "unreadable", complaint
        case code if code == OUT_OF_MEMORY:
            return "out_of_memory", complaint
        case code if code == RAISED:
            return "failed", complaint
        case code if code == -signal.SIGKILL:
            return "out_of_memory", "killed by the kernel, most likely for its memory"
        case code if code == -signal.SIGXCPU:
            return "timeout", "out of processor time"
        case code if code < 0:
            return "failed", f"the program died of {signal.Signals(-code).name}"
        case code:
            return "failed", f"the program exited with {code}"


def become_program(source: str, streams: tuple[int, int, int], locked_in: int, confine: Callable[[], None]) -> Never:
    """In the child: standard streams, the lock, a word that it holds, then the program. Nothing else stays open."""
    try:
        for standard, fd in enumerate(streams):
            os.dup2(fd, standard)
        if "thread" in source or "concurrent" in source:
            from pipelines.sandbox.inside.threads import provide

            provide(confine)
        confine()
        os.write(locked_in, b"1")
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os._exit(execute(source))
    finally:
        os._exit(RAISED)


def execute(source: str) -> int:
    """Run a script as `python script` does, up to what it registered for its end. SystemExit is no failure, as for the benchmark."""
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = ["program"]
    give_quit()
    try:
        code = compile(source, "<program>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return complain(UNREADABLE, text_of(error))
    try:
        with contextlib.suppress(SystemExit):
            exec(code, vars(module))
        if "threading" in sys.modules:
            vars(sys.modules["threading"])["_shutdown"]()  # waits for the threads that are no daemons
        atexit._run_exitfuncs()
        for stream in {sys.stdout, sys.__stdout__}:
            if stream is not None:
                stream.flush()
    except MemoryError:
        return complain(OUT_OF_MEMORY, "MemoryError")
    except BaseException as error:
        return complain(RAISED, f"{type(error).__name__}: {text_of(error)}")
    return 0


def complain(exit_status: int, text: str) -> int:
    """Leave a line on standard error."""
    line = " ".join(text.split())
    os.write(2, f"\n{line}\n".encode(errors="replace"))
    return exit_status
