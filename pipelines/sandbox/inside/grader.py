"""The grader: forks off the program, runs the tests here, and calls the program through a pipe wherever a test calls it.

Started once per sample, with two frames on standard input: what the program needs, and then the tests. The fork lies between the two,
so the program's process never holds the tests. The verdict goes out on standard output, which the program does not have.
"""

import os
import resource
import signal
import sys
from types import CodeType, FrameType
from typing import Any, Never

from pipelines.sandbox.inside.program import serve, text_of
from pipelines.sandbox.inside.remote import CONFINED, RemoteProgram, Unreadable
from pipelines.sandbox.inside.values import CannotCross
from pipelines.sandbox.inside.wire import WireError, receive, send

SUPERVISOR = 0
TESTS_FILE, SETUP_FILE = "<tests>", "<setup>"


def main() -> None:
    """Grade one sample. The only way out is `finish`."""
    job = receive(SUPERVISOR)
    confine_grader(job)
    answers = os.dup(1)
    hide_standard_streams(keep_input=True)
    program = fork_program(job, answers)
    grading = Grading(program, answers)
    if not program.is_confined():
        grading.finish("sandbox_failed", "the program's process could not be confined, and was not started")
    tests = receive(SUPERVISOR)
    signal.signal(signal.SIGALRM, grading.time_up)
    signal.setitimer(signal.ITIMER_REAL, job["timeout_s"])
    grading.finish(*grading.grade(job["source"], tests))


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


def fork_program(job: dict[str, Any], answers: int) -> RemoteProgram:
    """The program's process, confined before it reads a line of what the model wrote."""
    requests_out, requests_in = os.pipe()
    replies_out, replies_in = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for fd in (answers, requests_in, replies_out):
                os.close(fd)
            hide_standard_streams(keep_input=False)
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
    return RemoteProgram(pid, requests_in, replies_out)


def confine_program(job: dict[str, Any]) -> None:
    """What the program alone gets. The filter comes last: it takes away the right to do the rest."""
    if sys.platform == "linux":
        from pipelines.sandbox.inside.kernel import PR_SET_PDEATHSIG, prctl

        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if job["confinement"] == "landlock":
        from pipelines.sandbox.inside.landlock import allow_reading_only

        allow_reading_only(job["readable"])  # a domain below the grader's: it cannot trace or signal upwards
    if job["confinement"] != "none":
        from pipelines.sandbox.inside.seccomp import install_filter

        install_filter()
    sys.path[:] = [path for path in sys.path if path != job["package_root"]]


class Grading:
    """One sample's tests, and the verdict that ends this process."""

    def __init__(self, program: RemoteProgram, answers: int) -> None:
        self._program = program
        self._answers = answers

    def grade(self, source: str, tests: dict[str, Any]) -> tuple[str, str]:
        """Status and detail."""
        try:
            code, namespace = prepare(tests)
        except BaseException as error:
            return "tests_broken", f"{type(error).__name__}: {text_of(error)}"
        try:
            self._program.run(source)
            for name in tests["names"]:
                namespace[name] = self._program.named(name)
            exec(code, namespace)
        except Unreadable as error:
            return "unreadable", str(error)
        except CannotCross as error:
            return "tests_broken", text_of(error)
        except WireError as error:
            return self._program.how_it_ended(error)
        except MemoryError as error:
            return "out_of_memory", failure(error, tests["test"])
        except BaseException as error:
            return "failed", failure(error, tests["test"])
        return "passed", ""

    def time_up(self, signum: int, frame: FrameType | None) -> None:
        """The wall clock ran out, wherever the tests are."""
        self.finish("timeout", "the time limit ran out")

    def finish(self, status: str, detail: str) -> Never:
        """Say the verdict and end both processes."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._program.kill()
        send(self._answers, {"status": status, "detail": detail})
        os._exit(0)


def prepare(tests: dict[str, Any]) -> tuple[CodeType, dict[str, Any]]:
    """The tests, compiled, and the namespace they run in: only what the dataset says, nothing of the program's."""
    namespace: dict[str, Any] = {"__name__": "tests"}
    exec(compile(tests["setup"], SETUP_FILE, "exec", dont_inherit=True), namespace)
    return compile(tests["test"], TESTS_FILE, "exec", dont_inherit=True), namespace


def failure(error: BaseException, test: str) -> str:
    """What was raised, and the line of the tests it came from."""
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == TESTS_FILE:
            line = test.splitlines()[trace.tb_lineno - 1].strip()
        trace = trace.tb_next
    what = f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")
    return f"{what} at {line[:200]}" if line else what
