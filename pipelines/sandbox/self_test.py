"""Self-test of an isolation backend on this machine: an honest program passes in it, and every attack is seen to fail."""

import contextlib
import functools
import os
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipelines.sandbox.attacks import ATTACKS, Attack, Target
from pipelines.sandbox.backends import IsolationBackend
from pipelines.sandbox.job import HONEST, JobResult, JobStatus
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox

HONEST_LIMITS = Limits(timeout_s=10.0)
"""A loaded machine is no reason to call a backend broken."""
ATTACK_LIMITS = Limits(timeout_s=1.0, memory_mib=256)
"""Some attacks never end by themselves, and one fills what memory it gets."""
WORKERS = 4


@dataclass(frozen=True, slots=True)
class AttackResult:
    """One attack, and what came of it."""

    attack: str
    is_stopped: bool
    outcome: str
    """How the attack ended, or what gives it away."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What was tried in one backend."""

    backend: str
    honest: JobResult
    """The honest program: if even that fails, attacks that fail prove nothing."""
    attacks: tuple[AttackResult, ...]

    @property
    def holds(self) -> bool:
        """The honest program passed, and every attack was stopped."""
        return self.honest.status is JobStatus.PASSED and all(result.is_stopped for result in self.attacks)

    @property
    def objection(self) -> str:
        """Why it does not hold, in a line; "" if it does."""
        if self.honest.status is not JobStatus.PASSED:
            return f"an honest program ends as {self.honest.status}: {self.honest.detail}"
        return "; ".join(f"{result.attack}: {result.outcome}" for result in self.attacks if not result.is_stopped)


def run_self_test(backend: IsolationBackend) -> SelfTest:
    """Try everything in this backend; some 3 s. Raises FileNotFoundError if the backend's program is not installed."""
    with closing(Sandbox(backend, HONEST_LIMITS)) as sandbox:
        honest = sandbox.run(HONEST)
    if honest.status is not JobStatus.PASSED:
        return SelfTest(backend.name, honest, ())
    with closing(Sandbox(backend, ATTACK_LIMITS)) as sandbox, ThreadPoolExecutor(WORKERS) as pool:
        return SelfTest(backend.name, honest, tuple(pool.map(functools.partial(attempt, sandbox), ATTACKS)))


def attempt(sandbox: Sandbox, attack: Attack) -> AttackResult:
    """Run one attack against targets of its own, then look at the targets."""
    with target_with_canaries() as (target, canaries):
        result = sandbox.run(attack.job(target))
        traces = canaries.traces()
    if traces:
        return AttackResult(attack.name, False, traces)
    if result.status in (JobStatus.PASSED, JobStatus.SANDBOX_FAILED, JobStatus.TESTS_BROKEN):
        return AttackResult(attack.name, False, f"{result.status} {result.detail}".strip())
    reason = result.detail.partition(" at assert")[0]
    return AttackResult(attack.name, True, reason if reason not in ("", "AssertionError") else result.status.value)


@dataclass(frozen=True, slots=True)
class Canaries:
    """Things outside that show whether an attack reached them."""

    listener: socket.socket
    secret_file: Path
    folder: Path

    def traces(self) -> str:
        """What an attack left, "" if nothing."""
        written = [*self.folder.iterdir(), *self.folder.parent.glob("written-by-an-attack")]
        if written:
            return f"wrote {written[0]}"
        if self.secret_file.read_text() != SECRET or self.secret_file.stat().st_mode & 0o777 != 0o600:
            return f"changed {self.secret_file}"
        with contextlib.suppress(BlockingIOError):
            self.listener.accept()[0].close()
            return "reached a port outside"
        return ""


SECRET = "nobody else's business\n"


def self_test_prefix() -> str:
    """How this process's temporary folders begin."""
    return f"sandbox-self-test-{os.getpid()}-"


@contextlib.contextmanager
def target_with_canaries() -> Iterator[tuple[Target, Canaries]]:
    """A port, a secret and a folder to aim at, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=self_test_prefix()) as root, socket.socket() as listener:
        secret_file, folder = Path(root) / "secret", Path(root) / "open"
        secret_file.write_text(SECRET)
        secret_file.chmod(0o600)
        folder.mkdir()
        folder.chmod(0o777)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        target = Target(
            port=listener.getsockname()[1], secret_file=str(secret_file), folder=str(folder), process_id=os.getpid()
        )
        yield target, Canaries(listener, secret_file, folder)
