"""A warm Python that forks a grader for each sample, so that none pays for the start of an interpreter.

It is started once, in the machine's isolation backend, and never runs a line of a program or of a test: it waits on a socket, forks, and
buries what has ended. So what a sample finds in its memory is what a fresh Python has, with the modules of the grader imported. What would
be the same in all of its children is made anew in each: a scratch folder and namespaces of its own where the backend has them, the seeds of
`random`. Only the seed of str hashes is one for all samples of a zygote, which is replaced after some hundred (sandbox.py).

Messages on its standard input, a SOCK_SEQPACKET socket: b"S" + number with three descriptors starts a grader, b"K" + number kills it.
The end of the socket, which is also that of the supervisor, ends the zygote; its children die with it.
"""

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import sys
from typing import Never

from pipelines.sandbox.inside import cases, grader, prelude, program, remote, runner, script  # noqa: F401  warm
from pipelines.sandbox.inside.kernel import LIBC, PR_SET_CHILD_SUBREAPER, drop_capabilities, failed, prctl

NUM_STREAMS = 3
NEW_NAMESPACES = 0x00020000 | 0x20000000 | 0x08000000  # CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWIPC
MS_NOSUID, MS_NODEV = 2, 4


def main(scratch_bytes: int = 0) -> None:
    """Fork a grader for each request. With `scratch_bytes`, each has namespaces of its own and a /tmp of that size."""
    control = socket.socket(fileno=os.dup(0))
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    if sys.platform == "linux":
        prctl(PR_SET_CHILD_SUBREAPER, 1)  # where PID 1 buries nobody, this does
    exec(prelude.PRELUDE, {})  # what programs import most
    gc.freeze()  # so that no child copies all of it when it collects
    number_of: dict[int, int] = {}
    """Process id -> the sample's number."""
    while True:
        readable, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in readable:
            os.read(woken, 4096)
            bury(number_of)
        if control.fileno() in readable:
            message, fds, _, _ = socket.recv_fds(control, 16, NUM_STREAMS)
            number = int.from_bytes(message[1:], "big")
            match message[:1]:
                case b"":
                    end_all(number_of)
                    return
                case b"S":
                    start(number, fds, number_of, scratch_bytes)
                case b"K":
                    kill(number, number_of)


def start(number: int, fds: list[int], number_of: dict[int, int], scratch_bytes: int) -> None:
    """Fork a grader. One that cannot be started ends without a verdict: its streams close."""
    try:
        pid = os.fork()
        if pid == 0:
            become_grader(fds, scratch_bytes)
        number_of[pid] = number
    except OSError as error:
        os.write(fds[2], f"no process for a grader: {error.strerror}\n".encode())
    for fd in fds:
        os.close(fd)


def become_grader(fds: list[int], scratch_bytes: int) -> Never:
    """In the child: its own streams and session, its own namespaces, then the sample."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for standard, fd in enumerate(fds):
            os.dup2(fd, standard)
        os.closerange(NUM_STREAMS, os.sysconf("SC_OPEN_MAX") if sys.platform != "linux" else 1024)
        if scratch_bytes:
            enter_namespaces(scratch_bytes)
            child = os.fork()  # the first process of the new namespace; when it ends, all in there do
            if child:
                for standard in range(NUM_STREAMS):
                    os.close(standard)
                _, waited = os.waitpid(child, 0)
                os._exit(os.waitstatus_to_exitcode(waited) & 0xFF)
        grader.main()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def enter_namespaces(scratch_bytes: int) -> None:
    """Mounts, processes and IPC of its own, an empty /tmp, and no privilege any more. Raises OSError."""
    if LIBC.unshare(ctypes.c_int(NEW_NAMESPACES)):
        raise failed("unshare")
    options = f"size={scratch_bytes},mode=0755".encode()
    if LIBC.mount(b"tmpfs", b"/tmp", b"tmpfs", ctypes.c_ulong(MS_NOSUID | MS_NODEV), options):
        raise failed("mount /tmp")
    os.chdir("/tmp")
    drop_capabilities()


def bury(number_of: dict[int, int]) -> None:
    """Reap whatever has ended, orphans of the samples included."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if number_of.pop(pid, None) is not None:
                # What it left in its session; the number is not given to another process as long as any is there.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)


def end_all(number_of: dict[int, int]) -> None:
    """Kill and bury all children: an orphan would be left to PID 1."""
    for pid in number_of:
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                end(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def kill(number: int, number_of: dict[int, int]) -> None:
    """End a sample, the whole of its session."""
    for pid, its in number_of.items():
        if its == number:
            for end in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError):
                    end(pid, signal.SIGKILL)
