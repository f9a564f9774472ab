"""Many attacks mixed with honest samples on one sandbox: every honest verdict has to be right, and nothing may stay behind."""

import contextlib
import os
import random
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipelines.sandbox.attacks import ATTACKS
from pipelines.sandbox.backends import supervisor_argument
from pipelines.sandbox.job import JobStatus, ScriptJob
from pipelines.sandbox.sandbox import Sandbox
from pipelines.sandbox.self_test import ATTACK_LIMITS, attempt, self_test_prefix

TCP_LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp."""


@dataclass(frozen=True, slots=True)
class SoakResult:
    """What became of all samples."""

    attacks: int
    attacks_stopped: int
    honest: int
    honest_right: int
    left_behind: tuple[str, ...]
    """Processes, files and listening ports that were not there before."""
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Nothing got through, nothing honest was wronged, nothing is left."""
        return self.attacks == self.attacks_stopped and self.honest == self.honest_right and not self.left_behind


def soak(sandbox: Sandbox, count: int, *, workers: int) -> SoakResult:
    """Run `count` attacks and `count` honest samples, shuffled, half of the honest ones wrong and known to be."""
    attacking = Sandbox(sandbox.backend, ATTACK_LIMITS)
    before, started = Surroundings.now(), time.perf_counter()
    samples = [(kind, number) for kind in ("attack", "honest") for number in range(count)]
    random.Random(0).shuffle(samples)

    def is_as_it_should_be(kind: str, number: int) -> bool:
        if kind == "attack":
            return attempt(attacking, ATTACKS[number % len(ATTACKS)]).is_stopped
        return is_judged_rightly(sandbox, number)

    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(is_as_it_should_be, *zip(*samples, strict=True)))
    right = Counter(kind for (kind, _), outcome in zip(samples, outcomes, strict=True) if outcome)
    seconds = time.perf_counter() - started
    for used in (attacking, sandbox):
        used.close()
    return SoakResult(
        attacks=count,
        attacks_stopped=right["attack"],
        honest=count,
        honest_right=right["honest"],
        left_behind=Surroundings.now().more_than(before),
        seconds=seconds,
    )


def is_judged_rightly(sandbox: Sandbox, number: int) -> bool:
    """An honest program that adds, or one that is off by one, gets the verdict it deserves."""
    is_right = number % 2 == 0
    program = f"def add(a, b):\n    return a + b + {0 if is_right else 1}"
    job = ScriptJob(program=program, test=f"assert add({number}, 1) == {number + 1}", names=("add",))
    return sandbox.run(job).status is (JobStatus.PASSED if is_right else JobStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a sample could leave behind on this machine."""

    graders: frozenset[str]
    files: frozenset[str]
    listeners: frozenset[str]

    @classmethod
    def now(cls) -> "Surroundings":
        """As it is at this moment, after a moment for the kernel to take down the last namespaces."""
        deadline = time.monotonic() + 2.0
        while grader_processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        return cls(grader_processes(), temporary_files(), listening_sockets())

    def more_than(self, before: "Surroundings") -> tuple[str, ...]:
        """What is here and was not before."""
        return (
            *(f"process {line}" for line in sorted(self.graders - before.graders)),
            *(f"file {path}" for path in sorted(self.files - before.files)),
            *(f"port {line}" for line in sorted(self.listeners - before.listeners)),
        )


def grader_processes() -> frozenset[str]:
    """Processes of ours that run a grader, by the arguments they were started with."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if supervisor_argument().encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.add(folder.name)
    return frozenset(found)


def temporary_files() -> frozenset[str]:
    """What our attacks are known to write, wherever they try to."""
    folders = {tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", "/etc", "/usr", "/dev", "/"}
    names = (f"{self_test_prefix()}*", "written-by-an-attack", "block[0-9]*", "large", "link[0-9]*")
    return frozenset(str(path) for folder in folders for name in names for path in Path(folder).glob(name))


def listening_sockets() -> frozenset[str]:
    """Addresses at which this process or a grader listens, in the kernel's notation."""
    held = set()
    for process in (str(os.getpid()), *grader_processes()):
        for link in Path("/proc", process, "fd").glob("*"):
            with contextlib.suppress(OSError):
                held.add(os.readlink(link))
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            _, local, _, state, *_, inode = line.split()[:10]
            if state == TCP_LISTEN and f"socket:[{inode}]" in held:
                found.add(local)
    return frozenset(found)
