"""The strongest level that works on this machine, by proof and not by presence."""

import functools
import logging
from dataclasses import dataclass

from pipelines.errors import InputError
from pipelines.sandbox.levels import Bubblewrap, Landlock, Level, Unsafe
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.proof import Proof, prove
from pipelines.sandbox.sandbox import Sandbox

logger = logging.getLogger(__name__)

LEVELS: tuple[type[Level], ...] = (Bubblewrap, Landlock)
"""From the strongest down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenLevel:
    """What code runs in, and why."""

    level: Level
    proof: Proof | None
    """None without a sandbox."""
    objections: dict[str, str]
    """Why stronger levels do not do here, by name."""

    @property
    def line(self) -> str:
        """For whoever reads along, in a line."""
        passed_over = "".join(f"; {name} does not work here: {reason}" for name, reason in self.objections.items())
        if self.proof is None:
            return (
                f"code runs WITHOUT a sandbox (--allow-unsafe-execution): it can do all that this user can{passed_over}"
            )
        return (
            f"code runs in a sandbox of level {self.level.name}, proved on this machine: an honest program passed, "
            f"{len(self.proof.trials)} of {len(self.proof.trials)} attacks were stopped{passed_over}"
        )


def choose_level(*, allow_unsafe_execution: bool) -> ChosenLevel:
    """The strongest level that holds here. The proof takes some 3 s, once per process.

    Raises InputError if none holds and unsafe execution is not allowed.
    """
    objections: dict[str, str] = {}
    for level in LEVELS:
        tried = try_level(level)
        if isinstance(tried, Proof) and tried.holds:
            return ChosenLevel(level=level(), proof=tried, objections=objections)
        objections[level.name] = tried.objection if isinstance(tried, Proof) else tried
    if allow_unsafe_execution:
        return ChosenLevel(level=Unsafe(), proof=None, objections=objections)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in objections.items())
    raise InputError(
        f"code that a model wrote needs a sandbox, and none works on this machine ({reasons}). Install bubblewrap (apt install "
        "bubblewrap) and allow user namespaces, or use Linux 5.13 or later with Landlock; in a container see docs/sandbox.md; or type "
        "--allow-unsafe-execution."
    )


def choose_sandbox(limits: Limits, *, allow_unsafe_execution: bool) -> Sandbox:
    """A sandbox of that level, said in the log: as a warning if a stronger one does not work. Raises as `choose_level`."""
    chosen = choose_level(allow_unsafe_execution=allow_unsafe_execution)
    is_second_best = chosen.proof is None or bool(chosen.objections)
    logger.log(logging.WARNING if is_second_best else logging.INFO, "%s", chosen.line)
    return Sandbox(chosen.level, limits)


@functools.cache
def try_level(level: type[Level]) -> Proof | str:
    """What was tried at a level, or why it cannot be had."""
    try:
        return prove(level())
    except FileNotFoundError as error:
        return str(error)
