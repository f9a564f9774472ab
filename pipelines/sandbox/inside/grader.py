"""The grader: forks off the program, runs the tests here, and calls the program through a pipe wherever a test calls it.

Started once per sample, with frames on standard input: what the program needs, and then the tests, each case in a frame of its own. The
fork lies between the two, so the program's process never holds the tests. The verdict goes out on standard output, which the program
does not have.
"""

import os
import resource
import signal
import sys
import time
from functools import partial
from types import FrameType
from typing import Any, Never

from pipelines.sandbox.inside.process import CONFINED, RemoteRunner
from pipelines.sandbox.inside.program import serve
from pipelines.sandbox.inside.remote import RemoteProgram
from pipelines.sandbox.inside.script import StartClock, grade_script
from pipelines.sandbox.inside.wire import MAX_TRUSTED_BYTES, receive, send

SUPERVISOR = 0
MAX_DETAIL_BYTES = 4096
LINE_ENDS = {ord(end): " " for end in "\n\r\t"}

Program = RemoteProgram | RemoteRunner


def main() -> None:
    """Grade one sample. The only way out is `finish`, or an exception, which is no verdict."""
    job = receive(SUPERVISOR, max_bytes=MAX_TRUSTED_BYTES)
    confine_grader(job)
    answers = os.dup(1)
    hide_standard_streams(keep_input=True)
    program = fork_program(job, answers)
    grading = Grading(program, answers, job["timeout_s"])
    if not program.is_confined():
        grading.finish("sandbox_failed", "the program's process could not be confined, and was not started")
    tests = receive(SUPERVISOR, max_bytes=MAX_TRUSTED_BYTES)
    grading.finish(*grade(program, job, tests, grading.start_clock))


def grade(program: Program, job: dict[str, Any], tests: dict[str, Any], start_clock: StartClock) -> tuple[str, str]:
    """Status and detail. What only cases need is imported for them only: a start is most of what a sample costs."""
    if isinstance(program, RemoteRunner):
        from pipelines.sandbox.inside.cases import grade_runs

        return grade_runs(program, SUPERVISOR, tests, start_clock)
    if job["kind"] == "calls":
        from pipelines.sandbox.inside.cases import grade_calls

        return grade_calls(program, job["source"], SUPERVISOR, tests, start_clock)
    return grade_script(program, job["source"], tests, start_clock)


def hide_standard_streams(*, keep_input: bool) -> None:
    """Standard output and error go nowhere from here; so does standard input, unless kept."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2) if keep_input else (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def confine_grader(job: dict[str, Any]) -> None:
    """Limits, memory that no process of the same user can read, death with the supervisor, and (with Landlock) no files.

    The program's process inherits all of it but the death signal.
    """
    for limit, value in (
        (resource.RLIMIT_AS, job["memory_bytes"]),
        (resource.RLIMIT_FSIZE, job["file_bytes"]),
        (resource.RLIMIT_NOFILE, job["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    # At the soft limit comes SIGXCPU, which says why; at the hard one SIGKILL.
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_s"], job["cpu_s"] + 1))
    if sys.platform == "linux":
        from pipelines.sandbox.inside.kernel import PR_SET_DUMPABLE, PR_SET_PDEATHSIG, drop_capabilities, prctl

        prctl(PR_SET_DUMPABLE, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if job["confinement"] == "landlock":
            from pipelines.sandbox.inside.landlock import allow_reading_only

            drop_capabilities()
            allow_reading_only(job["readable"])


def fork_program(job: dict[str, Any], answers: int) -> Program:
    """The program's process, or the runner that has one child per case: confined before it reads a line of what the model wrote."""
    requests_out, requests_in = os.pipe()
    replies_out, replies_in = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for fd in (answers, requests_in, replies_out):
                os.close(fd)
            hide_standard_streams(keep_input=False)
            if job["kind"] == "runs":
                from pipelines.sandbox.inside.runner import serve_runs

                die_with_parent()
                serve_runs(requests_out, replies_in, job["source"], partial(confine_program, job), CONFINED)
            else:
                confine_program(job)
                send(replies_in, CONFINED)
                serve(requests_out, replies_in)
        finally:
            os._exit(0)
    os.close(requests_out)
    os.close(replies_in)
    if job["confinement"] != "none":
        from pipelines.sandbox.inside.seccomp import install_filter

        install_filter(may_signal=True)  # the tests come from a dataset: they get no more than they need
    kind = RemoteRunner if job["kind"] == "runs" else RemoteProgram
    return kind(pid, requests_in, replies_out)


def die_with_parent() -> None:
    """When the process that forked this one is gone, this one is killed."""
    if sys.platform == "linux":
        from pipelines.sandbox.inside.kernel import PR_SET_PDEATHSIG, prctl

        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def confine_program(job: dict[str, Any]) -> None:
    """What the program alone gets. The filter comes last: it takes away the right to do the rest."""
    die_with_parent()
    if job["confinement"] == "landlock":
        from pipelines.sandbox.inside.landlock import allow_reading_only

        allow_reading_only(job["readable"])  # a domain below the grader's: it cannot trace or signal upwards
    if job["confinement"] != "none":
        from pipelines.sandbox.inside.seccomp import install_filter

        install_filter()
    sys.path[:] = [path for path in sys.path if path != job["package_root"]]


def printable(text: str) -> str:
    """A detail as it may be stored and shown: bounded, in one line, without what a terminal would obey. The program has a say in it."""
    shown = text[:MAX_DETAIL_BYTES].translate(LINE_ENDS)
    shown = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in shown)
    return shown.encode(errors="replace")[:MAX_DETAIL_BYTES].decode(errors="ignore")


def processor_s() -> float:
    """Seconds of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


class Grading:
    """The clock, and the verdict that ends this process."""

    def __init__(self, program: Program, answers: int, timeout_s: float) -> None:
        self._program = program
        self._answers = answers
        self._timeout_s = timeout_s
        self._where = ""
        self._began: tuple[float, float] | None = None
        """Processor time and wall clock at the first start of the clock."""

    def start_clock(self, where: str) -> None:
        """From here the program has its time, or has it again; `where` is told if that runs out."""
        self._where = where
        self._began = self._began or (processor_s(), time.monotonic())
        signal.signal(signal.SIGALRM, self._time_up)
        signal.setitimer(signal.ITIMER_REAL, self._timeout_s)

    def finish(self, status: str, detail: str) -> Never:
        """Say the verdict and end both processes."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._program.kill()
        send(self._answers, {"status": status, "detail": printable(detail), "busy_share": self._busy_share()})
        os._exit(0)

    def _busy_share(self) -> float:
        """Processor time over wall clock, since the clock first started; the program counts, since it is gone by now."""
        if self._began is None:
            return 1.0
        processor, wall = self._began
        return (processor_s() - processor) / max(1e-3, time.monotonic() - wall)

    def _time_up(self, signum: int, frame: FrameType | None) -> None:
        self.finish("timeout", f"the time limit ran out{self._where and f' in {self._where}'}")
