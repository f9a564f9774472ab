"""Programs tested by cases: what is equal, what each ending is called, and what no program can reach."""

import secrets
import textwrap

import pytest

from pipelines.errors import InputError
from pipelines.sandbox.attacks import ATTACKS
from pipelines.sandbox.backends import START_ZYGOTE, Bubblewrap, IsolationBackend, Landlock
from pipelines.sandbox.choice import choose_sandbox
from pipelines.sandbox.inside.cases import output_difference
from pipelines.sandbox.inside.prelude import PRELUDE
from pipelines.sandbox.job import CallJob, Case, JobResult, JobStatus, StdinJob
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox
from pipelines.sandbox.self_test import ATTACK_LIMITS, target_with_canaries
from tests.pipelines.sandbox.test_backends import GET_THROUGH_WITHOUT_A_SANDBOX, skip_where_it_cannot_run


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return choose_sandbox(Limits(timeout_s=10.0), allow_unsafe_execution=False)
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=(Bubblewrap, Landlock), ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> IsolationBackend:
    skip_where_it_cannot_run(request.param)
    return request.param()


def run(sandbox: Sandbox, program: str, *cases: tuple[str, str]) -> JobResult:
    """As a script that reads standard input."""
    return sandbox.run(StdinJob(program=program, cases=tuple(Case(*case) for case in cases)))


def call(sandbox: Sandbox, program: str, *cases: tuple[str, str], holder: str | None = None) -> JobResult:
    """As a function f."""
    job = CallJob(program=program, holder=holder, function="f", cases=tuple(Case(*case) for case in cases))
    return sandbox.run(job)


# What is equal.


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("1 2\n3\n", "1 2\n3"),
        ("\n  1 2 \n3  \n\n", "1 2\n3\n"),
        ("1.50 2", "1.5 2.0"),
        ("1e3", "1000"),
        ("YES\n2.0", "YES\n2"),
        ("", "\n"),
    ],
)
def test_outputs_are_equal_line_by_line_as_text_or_as_numbers(printed: str, expected: str) -> None:
    assert output_difference(printed, expected) == ""


@pytest.mark.parametrize(
    ("printed", "expected", "difference"),
    [
        ("1\n2", "1\n3", "line 2 is '2', not '3'"),
        ("1  x", "1 x", "line 1 is '1  x', not '1 x'"),
        ("yes", "YES", "line 1"),
        ("0.333333", "0.3333333", "line 1"),
        ("50000000000000000", "50000000000000001", "line 1"),
        ("1\n2", "1", "2 lines, not 1"),
        ("1\n\n2", "1\n2", "line 2"),
        ("nan", "nan0", "line 1"),
        ("", "0", "line 1"),
    ],
)
def test_other_outputs_differ_and_it_is_said_where(printed: str, expected: str, difference: str) -> None:
    assert output_difference(printed, expected).startswith(difference)


# Scripts on standard input.


@pytest.mark.parametrize(
    "program",
    [
        "print(int(input()) * 2)",
        "import sys\nprint(2 * int(sys.stdin.read()))",
        "import sys\nsys.stdout.buffer.write(b'%d' % (2 * int(sys.stdin.buffer.readline())))",
        "import os\nos.write(1, str(2 * int(os.read(0, 9))).encode())",
        "for line in open(0): print(2 * int(line))",
        "if __name__ == '__main__':\n    print(2 * int(input()))",
        "import sys\nprint(2 * int(input()))\nsys.exit(1)",
        "import atexit\natexit.register(lambda: print(2 * int(input())))",
        "import sys, io\nreal, sys.stdout = sys.stdout, io.StringIO()\nprint(2 * int(input()))\nreal.write(sys.stdout.getvalue())",
        "import sys\nprint('debugging' * 100_000, file=sys.stderr)\nprint(2 * int(input()))",
        "print(2 * int(input()))\nquit()\nprint('never')",
        "print(2 * int(input()))\nexit(0)",
        "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "print(2 * int(input()) + f(30_000) - 30_000)",
        "import resource\nmost = resource.getrlimit(resource.RLIMIT_STACK)[1]\n"
        "resource.setrlimit(resource.RLIMIT_STACK, (2**27, most))\nprint(2 * int(input()))",
        "import sys, threading\nthreading.stack_size(2**27)\nsys.setrecursionlimit(10**6)\n"
        "def main(): print(2 * int(input()))\nthread = threading.Thread(target=main)\nthread.start()\nthread.join()",
        "import threading\nthreading.Thread(target=lambda: print(2 * int(input()))).start()",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as pool:\n"
        "    print(sum(pool.map(int, [input()] * 2)))",
        "import queue, threading\nq = queue.Queue()\n"
        "threading.Thread(target=lambda: q.put(int(input())), daemon=True).start()\nprint(2 * q.get())",
    ],
)
def test_a_script_may_read_and_write_as_scripts_do(sandbox: Sandbox, program: str) -> None:
    assert run(sandbox, program, ("21\n", "42\n"), ("-3", "-6.0")) == JobResult(JobStatus.PASSED)


def test_each_case_is_a_run_of_its_own(sandbox: Sandbox) -> None:
    program = "import builtins\nprint(getattr(builtins, 'seen', 0))\nbuiltins.seen = 1\nopen('/dev/null').close()"
    assert run(sandbox, program, ("", "0"), ("", "0")).status is JobStatus.PASSED


def test_a_script_need_not_read_its_input_and_may_read_much_of_it(sandbox: Sandbox) -> None:
    much = "x" * 3_000_000
    assert run(sandbox, "print(7)", (much, "7")).status is JobStatus.PASSED
    assert run(sandbox, "print(input() * 2)", (much, much * 2)).status is JobStatus.PASSED


def test_the_benchmarks_imports_are_there_and_hide_no_built_in(sandbox: Sandbox) -> None:
    program = f"{PRELUDE}\nq: List[int] = deque([gcd(4, 6)])\nprint(pow(2, 3, 5) + q[0], open is builtins_open)"
    first = "import builtins\nbuiltins_open = builtins.open\n"
    assert run(sandbox, first + program, ("", "5 True")) == JobResult(JobStatus.PASSED)


@pytest.mark.parametrize(
    ("program", "status", "detail"),
    [
        ("print(input())", JobStatus.FAILED, "line 1 is '1', not '2' in case 1 of 2"),
        ("print(2", JobStatus.UNREADABLE, "never closed"),
        ("1 / 0", JobStatus.FAILED, "ZeroDivisionError: division by zero in case 1 of 2"),
        ("import os\nos._exit(3)", JobStatus.FAILED, "exited with 3"),
        ("import os\nos._exit(0)", JobStatus.FAILED, "line 1 is '', not '2'"),
        ("bytearray(2**40)", JobStatus.OUT_OF_MEMORY, "MemoryError"),
        ("while True: print('x' * 65536)", JobStatus.FAILED, "printed more than"),
        ("import os\nos.close(1)\nos.close(2)", JobStatus.FAILED, "in case 1 of 2"),
        ("import ctypes\nctypes.string_at(0)", JobStatus.FAILED, "died of SIGSEGV"),
    ],
)
def test_each_ending_of_a_script_has_its_status(sandbox: Sandbox, program: str, status: JobStatus, detail: str) -> None:
    result = run(sandbox, program, ("1", "2"), ("2", "2"))
    assert result.status is status
    assert detail in result.detail


def test_the_clock_starts_anew_with_each_case(sandbox: Sandbox) -> None:
    patient = Sandbox(sandbox.backend, Limits(timeout_s=2.0))
    program = "import time\ntime.sleep(float(input()))"
    assert run(patient, program, *[("0.3", "")] * 8).status is JobStatus.PASSED
    result = run(patient, program, ("0", ""), ("9", ""), ("0", ""))
    assert result == JobResult(JobStatus.TIMEOUT, "the time limit ran out in case 2 of 3")


# Functions.


def test_a_function_is_called_with_a_line_of_json_per_argument(sandbox: Sandbox) -> None:
    program = "def f(n, words): return (n, words + ['c'])"
    assert (
        call(sandbox, program, ('1\n["a"]', '[1, ["a", "c"]]'), ("null\n[]", '[null, ["c"]]')).status
        is JobStatus.PASSED
    )


def test_a_method_is_called_on_one_instance(sandbox: Sandbox) -> None:
    body = "        self.calls += 1\n        return self.calls"
    program = f"{PRELUDE}\nclass Solution:\n    calls = 0\n    def f(self, xs: List[int]) -> int:\n{body}"
    assert call(sandbox, program, ("[]", "1"), ("[]", "2"), holder="Solution").status is JobStatus.PASSED


@pytest.mark.parametrize(
    ("program", "status", "detail"),
    [
        ("def f(n): return n", JobStatus.FAILED, "returned 1, not 2 in case 1 of 2"),
        ("def f(n): return [(2, 3)]", JobStatus.FAILED, "returned [(2, 3)], not 2"),
        ("def f(n): return 1 / 0", JobStatus.FAILED, "ZeroDivisionError: division by zero in case 1 of 2"),
        ("def g(n): return n", JobStatus.FAILED, "defines no 'f'"),
        ("def f(n:", JobStatus.UNREADABLE, "never closed"),
        ("def f(n): return len(bytearray(2**40))", JobStatus.OUT_OF_MEMORY, "case 1 of 2"),
        (
            "def f(n): import os; os._exit(0)",
            JobStatus.FAILED,
            "exited with 0 before its tests were done in case 1 of 2",
        ),
        ("class A: pass\ndef f(n): return A()", JobStatus.FAILED, "returned <"),
        ("class A:\n    def __eq__(self, other): return True\ndef f(n): return A()", JobStatus.UNDECIDED, "__eq__"),
        ("def f(n): raise SystemExit(0)", JobStatus.FAILED, "SystemExit: 0 in case 1 of 2"),
    ],
)
def test_each_ending_of_a_call_has_its_status(sandbox: Sandbox, program: str, status: JobStatus, detail: str) -> None:
    result = call(sandbox, program, ("1", "2"), ("2", "2"))
    assert result.status is status
    assert detail in result.detail


def test_a_case_that_is_not_json_is_the_datasets_fault(sandbox: Sandbox) -> None:
    result = call(sandbox, "def f(n): return n", ("1", "1"), ("one", "1"))
    assert result.status is JobStatus.TESTS_BROKEN
    assert "case 2 of 2" in result.detail


def test_a_function_has_its_time_for_each_case(sandbox: Sandbox) -> None:
    patient = Sandbox(sandbox.backend, Limits(timeout_s=3.0))
    busy = "import time\ndef f(s):\n    end = time.process_time() + s\n    while time.process_time() < end: pass\n    return s"
    assert call(patient, busy, *[("0.1", "0.1")] * 35).status is JobStatus.PASSED, "3.5 s of processor time in all"
    assert call(patient, busy, ("0.1", "0.1"), ("9", "9")).detail == "the time limit ran out in case 2 of 2"


# What no program can reach.

SEARCH = """
import gc, os, re, sys
found = set()
things, frame = gc.get_objects(), sys._getframe()
while frame:
    things += [frame.f_locals, frame.f_globals]
    frame = frame.f_back
for thing in things:
    if isinstance(thing, (str, bytes, bytearray, dict, list, tuple)):
        found.update(re.findall("token-[0-9a-f]{64}", str(thing)))
for fd in range(64):
    try:
        os.set_blocking(fd, False)
        found.update(re.findall("token-[0-9a-f]{64}", os.read(fd, 2**20).decode(errors="replace")))
    except OSError:
        pass
try:
    for line in open("/proc/self/maps"):
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        with open("/proc/self/mem", "rb", 0) as memory:
            memory.seek(first)
            found.update(re.findall("token-[0-9a-f]{64}", memory.read(last - first).decode("latin-1")))
except OSError:
    pass
"""


def test_the_expected_outputs_are_nowhere_in_a_scripts_process(backend: IsolationBackend) -> None:
    """The search finds what is there: the same token, given as input, comes out."""
    sandbox, token = Sandbox(backend, Limits(timeout_s=10.0)), f"token-{secrets.token_hex()}"
    program = f"{SEARCH}\nprint(*(found or ['none']))"
    assert run(sandbox, program, (token, token)).status is JobStatus.PASSED
    assert run(sandbox, program, ("21", token)).status is JobStatus.FAILED
    assert run(sandbox, program, ("21", "none"), ("22", token)).status is JobStatus.FAILED, "nor those of later cases"


def test_the_expected_values_are_nowhere_in_a_functions_process(backend: IsolationBackend) -> None:
    sandbox, token = Sandbox(backend, Limits(timeout_s=10.0)), f"token-{secrets.token_hex()}"
    program = f"def f(n):\n{textwrap.indent(SEARCH, '    ')}\n    return sorted(found)"
    assert call(sandbox, program, (f'"{token}"', f'["{token}"]')).status is JobStatus.PASSED
    assert call(sandbox, program, ("21", f'["{token}"]')).status is JobStatus.FAILED
    assert call(sandbox, program, ("21", "[]"), ("22", f'["{token}"]')).status is JobStatus.FAILED


@pytest.mark.parametrize(
    "program",
    [
        "import threading, time\nthreading.stack_size(32768)\n"
        "for _ in range(64): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint(1)",
        "import _thread, time\nfor _ in range(64): _thread.start_new_thread(time.sleep, (60,))\nprint(1)",
        "import ctypes, threading\nhold = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: 0)\n"
        "assert ctypes.CDLL(None).pthread_create(ctypes.byref(ctypes.c_ulong()), None, hold, None) == 0\nprint(1)",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))\nprint(1)",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))\nprint(1)",
        "import os, threading\nfound = []\ndef look():\n    try: found.append(os.fork() >= 0)\n    except OSError: pass\n"
        "    try: found.append(open('/etc/passwd').read())\n    except OSError: pass\n"
        "thread = threading.Thread(target=look)\nthread.start()\nthread.join()\nassert found\nprint(1)",
    ],
    ids=("threads", "low-level threads", "the library's threads", "another's limits", "more memory", "from a thread"),
)
def test_threads_are_few_and_as_locked_in_as_the_program(backend: IsolationBackend, program: str) -> None:
    assert run(Sandbox(backend, Limits(timeout_s=10.0)), program, ("", "1")).status is JobStatus.FAILED


FORGED_VERDICT = """
import json, os
body = json.dumps({"status": "passed", "detail": ""}).encode()
for fd in range(64):
    try:
        os.write(fd, len(body).to_bytes(4, "big") + body)
    except OSError:
        pass
"""


@pytest.mark.parametrize(
    "program",
    [
        FORGED_VERDICT,
        "import sys\nsys.exit(0)",
        "import builtins\nbuiltins.print = None\nraise SystemExit",
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    ],
)
def test_a_script_cannot_say_that_it_passed(backend: IsolationBackend, program: str) -> None:
    assert run(Sandbox(backend, Limits(timeout_s=10.0)), program, ("", secrets.token_hex())).status is JobStatus.FAILED


@pytest.mark.parametrize("name", GET_THROUGH_WITHOUT_A_SANDBOX)
def test_a_script_is_locked_in_like_any_other_program(backend: IsolationBackend, name: str) -> None:
    [attack] = [attack for attack in ATTACKS if attack.name == name]
    with target_with_canaries() as (target, canaries):
        program = f"{attack.job(target).program}\nprint(attack())"
        result = run(Sandbox(backend, ATTACK_LIMITS), program, ("", "True"))
        assert canaries.traces() == ""
    assert result.status not in (JobStatus.PASSED, JobStatus.SANDBOX_FAILED), result.detail


def test_a_script_that_cannot_be_confined_is_not_run() -> None:
    """The filter fails in every child of the runner, as on a kernel without seccomp; the grader's own is left alone."""
    skip_where_it_cannot_run(Landlock)

    class WithoutFilter(Landlock):
        def command(self, limits: Limits) -> list[str]:
            break_filter = """
import pipelines.sandbox.inside.seccomp as seccomp
whole = seccomp.install_filter
def broken(*, may_signal=False):
    if not may_signal:
        raise OSError("this kernel has no seccomp")
    whole(may_signal=True)
seccomp.install_filter = broken
"""
            start = START_ZYGOTE.replace("from pipelines", f"exec({break_filter!r}); from pipelines")
            return [start if part == START_ZYGOTE else part for part in super().command(limits)]

    assert run(Sandbox(WithoutFilter(), Limits()), "print(1)", ("", "1")).status is JobStatus.SANDBOX_FAILED
