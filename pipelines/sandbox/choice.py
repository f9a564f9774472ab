"""The strongest level that works on this machine, by proof and not by presence."""

import functools
import logging

from pipelines.errors import InputError
from pipelines.sandbox.levels import Bubblewrap, Landlock, Level, Unsafe
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.proof import prove
from pipelines.sandbox.sandbox import Sandbox

logger = logging.getLogger(__name__)

LEVELS: tuple[type[Level], ...] = (Bubblewrap, Landlock)
"""From the strongest down."""


def choose_sandbox(limits: Limits, *, allow_unsafe_execution: bool) -> Sandbox:
    """A sandbox of the strongest level that holds here. Levels that do not are told in warnings, with the reason.

    Raises InputError if none holds and unsafe execution is not allowed. The proof takes some 3 s, once per process.
    """
    objections = {}
    for level in LEVELS:
        objections[level.name] = objection_to(level)
        if not objections[level.name]:
            logger.info("code runs in a sandbox of level %s, proved on this machine", level.name)
            return Sandbox(level(), limits)
        logger.warning("sandbox level %s does not work here: %s", level.name, objections[level.name])
    if allow_unsafe_execution:
        logger.warning("code runs WITHOUT a sandbox (--allow-unsafe-execution): it can do all that this user can")
        return Sandbox(Unsafe(), limits)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in objections.items())
    raise InputError(
        f"code that a model wrote needs a sandbox, and none works on this machine ({reasons}). Install bubblewrap (apt install "
        "bubblewrap) and allow user namespaces, or use Linux 5.13 or later with Landlock; or type --allow-unsafe-execution."
    )


@functools.cache
def objection_to(level: type[Level]) -> str:
    """Why a level does not do here, "" if it does."""
    try:
        return prove(level()).objection
    except FileNotFoundError as error:
        return str(error)
