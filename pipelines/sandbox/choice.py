"""The strongest backend that works on this machine, by a self-test and not by presence."""

import functools
import logging
from dataclasses import dataclass

from pipelines.errors import InputError
from pipelines.sandbox.backends import Bubblewrap, IsolationBackend, Landlock, Unsafe
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox
from pipelines.sandbox.self_test import SelfTest, run_self_test

logger = logging.getLogger(__name__)

BACKENDS: tuple[type[IsolationBackend], ...] = (Bubblewrap, Landlock)
"""From the strongest down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenBackend:
    """What code runs in, and why."""

    backend: IsolationBackend
    self_test: SelfTest | None
    """None without a sandbox."""
    objections: dict[str, str]
    """Why stronger backends do not do here, by name."""

    @property
    def line(self) -> str:
        """For whoever reads along, in a line."""
        passed_over = "".join(f"; {name} does not work here: {reason}" for name, reason in self.objections.items())
        if self.self_test is None:
            return (
                f"code runs WITHOUT a sandbox (--allow-unsafe-execution): it can do all that this user can{passed_over}"
            )
        return (
            f"code runs in a sandbox (isolation backend {self.backend.name}), tested on this machine: an honest program passed, "
            f"{len(self.self_test.attacks)} of {len(self.self_test.attacks)} attacks were stopped{passed_over}"
        )


def choose_backend(*, allow_unsafe_execution: bool) -> ChosenBackend:
    """The strongest backend that holds here. The self-test takes some 3 s, once per process.

    Raises InputError if none holds and unsafe execution is not allowed.
    """
    objections: dict[str, str] = {}
    for backend in BACKENDS:
        tried = try_backend(backend)
        if isinstance(tried, SelfTest) and tried.holds:
            return ChosenBackend(backend=backend(), self_test=tried, objections=objections)
        objections[backend.name] = tried.objection if isinstance(tried, SelfTest) else tried
    if allow_unsafe_execution:
        return ChosenBackend(backend=Unsafe(), self_test=None, objections=objections)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in objections.items())
    raise InputError(
        f"code that a model wrote needs a sandbox, and none works on this machine ({reasons}). Install bubblewrap (apt install "
        "bubblewrap) and allow user namespaces, or use Linux 5.13 or later with Landlock; in a container see docs/sandbox.md; or type "
        "--allow-unsafe-execution."
    )


def choose_sandbox(limits: Limits, *, allow_unsafe_execution: bool) -> Sandbox:
    """A sandbox of that backend, said in the log: as a warning if a stronger one does not work. Raises as `choose_backend`."""
    chosen = choose_backend(allow_unsafe_execution=allow_unsafe_execution)
    is_second_best = chosen.self_test is None or bool(chosen.objections)
    logger.log(logging.WARNING if is_second_best else logging.INFO, "%s", chosen.line)
    return Sandbox(chosen.backend, limits)


@functools.cache
def try_backend(backend: type[IsolationBackend]) -> SelfTest | str:
    """What was tried in a backend, or why it cannot be had."""
    try:
        return run_self_test(backend())
    except FileNotFoundError as error:
        return str(error)
