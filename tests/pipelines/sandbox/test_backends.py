"""Each backend stops every attack, the attacks are real, and the choice among backends goes by self-test."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.errors import InputError
from pipelines.sandbox import choice
from pipelines.sandbox.attacks import ATTACKS
from pipelines.sandbox.backends import START_ZYGOTE, Bubblewrap, IsolationBackend, Landlock, Unsafe
from pipelines.sandbox.choice import choose_sandbox
from pipelines.sandbox.inside.landlock import landlock_version
from pipelines.sandbox.inside.seccomp import ARCHITECTURES, filter_instructions
from pipelines.sandbox.job import HONEST, JobStatus, ScriptJob
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox
from pipelines.sandbox.self_test import ATTACK_LIMITS, SelfTest, attempt, run_self_test
from pipelines.sandbox.soak import Surroundings, grader_processes, soak

ROOT = Path(__file__).resolve().parents[3]
CLOSED: tuple[type[IsolationBackend], ...] = (Bubblewrap, Landlock)
GET_THROUGH_WITHOUT_A_SANDBOX = (
    "network connect",
    "open a port",
    "read another user's file",
    "read our environment",
    "write outside",
    "symlink tricks",
    "fork bomb",
    "thread bomb",
    "start a program",
    "zombie children",
    "slip out of the process group",
    "kill the parent",
    "memory in files",
    "shared memory that stays",
)
"""The others are stopped by the limits or by the two processes, which the unsafe backend has too."""


def skip_where_it_cannot_run(backend: type[IsolationBackend]) -> None:
    try:
        command = backend().command(Limits())
        if backend is Landlock:
            landlock_version()
    except OSError as error:
        pytest.skip(f"{backend.name} is not to be had here: {error}")
    if backend is Bubblewrap:
        started = subprocess.run([*command[: command.index("--") + 1], "/usr/bin/true"], capture_output=True, text=True)
        if started.returncode:
            pytest.skip(f"bubblewrap cannot make namespaces here: {started.stderr.strip()}")


@pytest.fixture(scope="module", params=CLOSED, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> IsolationBackend:
    skip_where_it_cannot_run(request.param)
    return request.param()


@pytest.fixture(scope="module")
def self_test(backend: IsolationBackend) -> SelfTest:
    return run_self_test(backend)


@pytest.mark.parametrize("number", range(len(ATTACKS)), ids=lambda number: ATTACKS[number].name)
def test_every_attack_is_stopped(self_test: SelfTest, number: int) -> None:
    assert self_test.honest.status is JobStatus.PASSED, self_test.honest.detail
    result = self_test.attacks[number]
    assert result.attack == ATTACKS[number].name
    assert result.is_stopped, result.outcome


@pytest.mark.parametrize("name", GET_THROUGH_WITHOUT_A_SANDBOX)
def test_the_attack_gets_through_where_nothing_stops_it(name: str) -> None:
    (attack,) = (attack for attack in ATTACKS if attack.name == name)
    patient = Limits(timeout_s=20.0, memory_mib=ATTACK_LIMITS.memory_mib)  # a loaded machine stops nothing
    assert not attempt(Sandbox(Unsafe(), patient), attack).is_stopped


def test_limits_name_what_was_exceeded(backend: IsolationBackend) -> None:
    sandbox = Sandbox(backend, Limits(timeout_s=1.0, memory_mib=128))

    def status(program: str) -> JobStatus:
        return sandbox.run(ScriptJob(program=program, test="f()", names=("f",))).status

    assert status("def f():\n    while True: pass") is JobStatus.TIMEOUT
    assert status("import time\ndef f(): time.sleep(60)") is JobStatus.TIMEOUT
    assert status("def f(): return len(bytearray(2**28))") is JobStatus.OUT_OF_MEMORY
    assert status("def f(): pass") is JobStatus.PASSED


def test_tests_that_do_not_end_are_killed_too(backend: IsolationBackend) -> None:
    result = Sandbox(backend, Limits(timeout_s=0.5)).run(ScriptJob(program="", test="while True: pass"))
    assert result.status is JobStatus.TIMEOUT


def test_a_sample_leaves_nothing_for_the_next(backend: IsolationBackend) -> None:
    sandbox = Sandbox(backend, Limits())
    test = "assert mark() is False"
    program = """
        import builtins, os
        def mark():
            seen = hasattr(builtins, "mark") or os.path.exists("/tmp/mark")
            builtins.mark = 1
            try:
                open("/tmp/mark", "w").close()
            except OSError:
                pass
            return seen
        """
    job = ScriptJob(program="if True:" + program, test=test, names=("mark",))
    assert [sandbox.run(job).status for _ in range(2)] == [JobStatus.PASSED] * 2


def test_attacks_among_honest_samples_change_no_verdict_and_leave_nothing(backend: IsolationBackend) -> None:
    result = soak(Sandbox(backend, Limits(timeout_s=10.0)), 40, workers=2)
    assert result.attacks_stopped == result.attacks == 40
    assert result.honest_right == result.honest == 40
    assert result.left_behind == ()


def test_what_is_left_behind_is_seen() -> None:
    before = Surroundings.now()
    with Path("/tmp/written-by-an-attack").open("w") as file:
        assert Surroundings.now().more_than(before) == (f"file {file.name}",)
    os.remove(file.name)


def test_a_grader_dies_with_its_supervisor(backend: IsolationBackend) -> None:
    program = f"""
from pipelines.sandbox.job import ScriptJob
from pipelines.sandbox.backends import {type(backend).__name__} as IsolationBackend
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox
Sandbox(IsolationBackend(), Limits(timeout_s=300)).run(ScriptJob(program="while True: pass", test=""))
"""
    supervisor = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    mark = f"--supervisor={supervisor.pid}".encode()

    def graders() -> int:
        found = 0
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                found += mark in path.read_bytes().split(b"\0")
        return found

    # Zygote, grader and program; with bubblewrap its own and the parent of the sample's namespaces too.
    wait_until(lambda: graders() == (5 if isinstance(backend, Bubblewrap) else 3))
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    wait_until(lambda: graders() == 0)


def wait_until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s in vain"
        time.sleep(0.05)


def test_a_grader_that_cannot_start_is_no_pass_and_says_why() -> None:
    class Broken(Unsafe):
        name = "broken"

        def command(self, limits: Limits) -> list[str]:
            return ["/bin/sh", "-c", "echo no such thing >&2; exit 3"]

    result = Sandbox(Broken(), Limits()).run(HONEST)
    assert result.status is JobStatus.SANDBOX_FAILED
    assert "no such thing" in result.detail
    assert "3" in result.detail


def test_a_program_that_cannot_be_confined_is_not_run() -> None:
    """A program's process without its filter must not come to run the program, and that is no wrong answer either."""

    class WithoutFilter(Landlock):
        def command(self, limits: Limits) -> list[str]:
            break_filter = """
import pipelines.sandbox.inside.seccomp
def broken(*, may_signal=False):
    raise OSError("this kernel has no seccomp")
pipelines.sandbox.inside.seccomp.install_filter = broken
"""
            start = START_ZYGOTE.replace("from pipelines", f"exec({break_filter!r}); from pipelines")
            return [start if part == START_ZYGOTE else part for part in super().command(limits)]

    skip_where_it_cannot_run(Landlock)
    assert Sandbox(WithoutFilter(), Limits()).run(HONEST).status is JobStatus.SANDBOX_FAILED


def test_a_level_that_stops_nothing_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pretender(Unsafe):
        name = "pretender"

    monkeypatch.setattr(choice, "BACKENDS", (Pretender,))
    with pytest.raises(InputError, match=r"pretender: network connect.*--allow-unsafe-execution"):
        choose_sandbox(Limits(), allow_unsafe_execution=False)


def test_without_bubblewrap_the_next_level_is_taken_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    skip_where_it_cannot_run(Landlock)
    choice.try_backend.cache_clear()
    monkeypatch.setenv("PATH", "")
    with caplog.at_level(logging.WARNING):
        assert choose_sandbox(Limits(), allow_unsafe_execution=False).backend.name == "landlock"
    assert "apt install bubblewrap" in caplog.text
    choice.try_backend.cache_clear()


def test_unsafe_execution_is_taken_only_when_typed_and_warned_about(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choice, "BACKENDS", ())
    with pytest.raises(InputError, match="--allow-unsafe-execution"):
        choose_sandbox(Limits(), allow_unsafe_execution=False)
    with caplog.at_level(logging.WARNING):
        assert choose_sandbox(Limits(), allow_unsafe_execution=True).backend.name == "unsafe"
    assert "WITHOUT a sandbox" in caplog.text


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_filter_jumps_to_instructions_that_exist(machine: str) -> None:
    instructions = filter_instructions(machine, may_signal=False)
    for place, (_, if_true, if_false, _) in enumerate(instructions):
        assert place + 1 + max(if_true, if_false) < len(instructions) or place == len(instructions) - 1
        assert max(if_true, if_false) < 256


@pytest.mark.parametrize(
    "wrong", [{"timeout_s": 0}, {"timeout_s": float("inf")}, {"memory_mib": 1}, {"file_mib": -1}, {"open_files": 3}]
)
def test_limits_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Limits(**wrong)  # type: ignore[arg-type]


def test_no_grader_is_left_after_all_these_tests() -> None:
    wait_until(lambda: not grader_processes())
