"""Proof that a level holds on this machine: an honest program passes in it, and every attack is seen to fail."""

import contextlib
import functools
import os
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipelines.sandbox.attacks import ATTACKS, Attack, Target
from pipelines.sandbox.exam import Exam, ExamResult, ExamStatus
from pipelines.sandbox.levels import Level
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox

HONEST_LIMITS = Limits(timeout_s=10.0)
"""A loaded machine is no reason to call a level broken."""
ATTACK_LIMITS = Limits(timeout_s=1.0, memory_mib=256)
"""Some attacks never end by themselves, and one fills what memory it gets."""
HONEST = Exam(program="def double(x): return 2 * x", test="assert double(21) == 42", names=("double",))
WORKERS = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """One attack, and what came of it."""

    attack: str
    is_stopped: bool
    outcome: str
    """How the attack ended, or what gives it away."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was tried at one level."""

    level: str
    honest: ExamResult
    """The honest program: if even that fails, attacks that fail prove nothing."""
    trials: tuple[Trial, ...]

    @property
    def holds(self) -> bool:
        """The honest program passed, and every attack was stopped."""
        return self.honest.status is ExamStatus.PASSED and all(trial.is_stopped for trial in self.trials)

    @property
    def objection(self) -> str:
        """Why it does not hold, in a line; "" if it does."""
        if self.honest.status is not ExamStatus.PASSED:
            return f"an honest program ends as {self.honest.status}: {self.honest.detail}"
        return "; ".join(f"{trial.attack}: {trial.outcome}" for trial in self.trials if not trial.is_stopped)


def prove(level: Level) -> Proof:
    """Try everything at this level; some 3 s. Raises FileNotFoundError if the level's program is not installed."""
    honest = Sandbox(level, HONEST_LIMITS).run(HONEST)
    if honest.status is not ExamStatus.PASSED:
        return Proof(level.name, honest, ())
    sandbox = Sandbox(level, ATTACK_LIMITS)
    with ThreadPoolExecutor(WORKERS) as pool:
        return Proof(level.name, honest, tuple(pool.map(functools.partial(attempt, sandbox), ATTACKS)))


def attempt(sandbox: Sandbox, attack: Attack) -> Trial:
    """Run one attack against targets of its own, then look at the targets."""
    with target_with_witnesses() as (target, witnesses):
        result = sandbox.run(attack.exam(target))
        traces = witnesses.traces()
    if traces:
        return Trial(attack.name, False, traces)
    if result.status in (ExamStatus.PASSED, ExamStatus.SANDBOX_FAILED, ExamStatus.TESTS_BROKEN):
        return Trial(attack.name, False, f"{result.status} {result.detail}".strip())
    reason = result.detail.partition(" at assert")[0]
    return Trial(attack.name, True, reason if reason not in ("", "AssertionError") else result.status.value)


@dataclass(frozen=True, slots=True)
class Witnesses:
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


def proof_prefix() -> str:
    """How this process's temporary folders begin."""
    return f"sandbox-proof-{os.getpid()}-"


@contextlib.contextmanager
def target_with_witnesses() -> Iterator[tuple[Target, Witnesses]]:
    """A port, a secret and a folder to aim at, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=proof_prefix()) as root, socket.socket() as listener:
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
        yield target, Witnesses(listener, secret_file, folder)
